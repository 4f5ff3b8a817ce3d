import type { RotationId } from "../ids.ts";
import type { Question, Reading } from "../reading.ts";
import type { PageRequest, RotationFilter } from "../storage.ts";
import type { Instant } from "../time.ts";
import type { Brownout } from "./brownout.ts";
import type { Assessment, Dismissal } from "./evidence.ts";
import { findRotation, judgeRotation } from "./gather-evidence.ts";
import type { Rotation } from "./rotation.ts";

/** A rotation with what its evidence says, up to this moment. */
export interface RotationView {
  readonly rotation: Rotation;
  readonly assessment: Assessment;
  readonly dismissals: readonly Dismissal[];
  readonly brownouts: readonly Brownout[];
  readonly now: Instant;
}

/** `GET /v1/rotations/{id}`. What is still in memory is stored first, so the view is never a flush behind. */
export const readRotation: Reading<{ readonly id: RotationId }, RotationView> = {
  name: "rotations.read",
  permission: "keyturn:rotations.read",
  async run(question, input) {
    await question.authority.recorder.flush();
    return viewOf(question, await findRotation(question.read, question.account, input.id));
  },
};

/** `GET /v1/rotations`, newest first. */
export const listRotations: Reading<
  { readonly filter: RotationFilter; readonly page: PageRequest },
  readonly RotationView[]
> = {
  name: "rotations.list",
  permission: "keyturn:rotations.read",
  async run(question, { filter, page }) {
    const views: RotationView[] = [];
    for (const rotation of await question.read.rotations.list(question.account, filter, page)) {
      views.push(await viewOf(question, rotation));
    }
    return views;
  },
};

/** Any rotation as it stands now. */
export async function viewOf(
  question: Pick<Question, "read" | "authority" | "now">,
  rotation: Rotation,
): Promise<RotationView> {
  const { read, authority, now } = question;
  const { assessment, evidence } = await judgeRotation(authority, read, rotation, now);
  const stored = await read.rotations.brownouts(rotation.id);
  const brownouts = await Promise.all(
    stored.map(async (one) => {
      if (one.stoppedAt !== null) return one;
      const { refusals, callersHit } = await authority.brownouts.total(one);
      return { ...one, refusals, callersHit };
    }),
  );
  return { rotation, assessment, dismissals: evidence.dismissals, brownouts, now };
}
