import { connect, createServer, type Socket } from "node:net";

/** A wire to a database that can fail as networks do. */
export interface Wire {
  /** The same database through the wire. */
  readonly url: string;
  /** Nothing arrives any more, and nobody is told. Until `mend`, when what was sent meanwhile arrives after all. */
  silence(): void;
  /** The same, but for connections of before this never anything arrives any more, mended or not. */
  forget(): void;
  /** Every connection ends, and new ones are refused. Until `mend`. */
  cut(): void;
  mend(): void;
  /** Leaves out what PostgreSQL announces on its own (NOTIFY), until told otherwise. */
  deafen(isDeaf: boolean): void;
  /** Cuts the next commit on its way there, or its confirmation on the way back. */
  cutCommit(where: "there" | "back"): void;
  /** Nothing arrives any more from the next commit on, which doesn't either. Until `mend`. */
  silenceAtCommit(): void;
  /** Whether nothing arrives now. */
  isSilent(): boolean;
  /** Ends every connection; new ones lead to this server. */
  lead(url: string): void;
  /** How often the client has waited for the server since the last call. */
  roundTrips(): number;
  /** How many announcements were left out. */
  unheard(): number;
  close(): Promise<void>;
}

const COMMIT = Buffer.from("commit\0");
/** Sync of the extended protocol; `begin` and the like are simple queries, and wait once each as well. */
const SYNC = Buffer.from([0x53, 0, 0, 0, 4]);
/** https://www.postgresql.org/docs/current/protocol-message-formats.html: NotificationResponse. */
const NOTIFICATION = 0x41;
/** A type and a length, which counts itself. */
const PREFIX_BYTES = 5;

/** One way of a connection. While it is held, bytes and the end wait in it, as in a network that sends again. */
interface Lane {
  send(bytes: Buffer): void;
  end(): void;
  release(): void;
}

/** A client's connection and ours to the database. */
interface Pair {
  readonly there: Lane;
  readonly back: Lane;
  isLost: boolean;
  destroy(): void;
}

export async function stretchWire(url: string): Promise<Wire> {
  let target = new URL(url);
  const pairs = new Set<Pair>();
  let state: "whole" | "silent" | "cut" = "whole";
  let isDeaf = false;
  let unheard = 0;
  let atCommit: "there" | "back" | "silence" | null = null;
  let trips = 0;

  const server = createServer((client) => {
    if (state === "cut") {
      client.destroy();
      return;
    }
    const database = connect(Number(target.port), target.hostname);
    const isHeld = () => state === "silent" || pair.isLost;
    const pair: Pair = {
      there: laneTo(database, isHeld),
      back: laneTo(client, isHeld),
      isLost: false,
      destroy: () => {
        pairs.delete(pair);
        client.destroy();
        database.destroy();
      },
    };
    pairs.add(pair);
    const gone = { client: false, database: false };
    for (const [side, socket, lane] of [
      ["client", client, pair.there],
      ["database", database, pair.back],
    ] as const) {
      socket.on("error", () => undefined);
      socket.on("close", () => {
        gone[side] = true;
        lane.end();
        if (gone.client && gone.database) pairs.delete(pair);
      });
    }
    let cutBack = false;
    const messages = splitMessages((type) => {
      if (!isDeaf || type !== NOTIFICATION) return true;
      unheard += 1;
      return false;
    });
    client.on("data", (bytes) => {
      trips += countOf(bytes, SYNC);
      if (atCommit !== null && bytes.includes(COMMIT)) {
        const where = atCommit;
        atCommit = null;
        if (where === "there") return pair.destroy();
        if (where === "silence") state = "silent";
        cutBack = where === "back";
      }
      pair.there.send(bytes);
    });
    database.on("data", (bytes) => {
      if (cutBack) return pair.destroy();
      for (const message of messages(bytes)) pair.back.send(message);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = server.address();
  const through = new URL(url);
  through.port = String(typeof address === "object" && address !== null ? address.port : 0);
  const endAll = () => {
    for (const pair of [...pairs]) pair.destroy();
  };

  return {
    url: through.href,
    silence: () => {
      state = "silent";
    },
    forget: () => {
      for (const pair of pairs) pair.isLost = true;
      state = "silent";
    },
    cut: () => {
      state = "cut";
      endAll();
    },
    mend: () => {
      state = "whole";
      for (const { isLost, there, back } of pairs) {
        if (isLost) continue;
        there.release();
        back.release();
      }
    },
    deafen: (now) => {
      isDeaf = now;
    },
    cutCommit: (where) => {
      atCommit = where;
    },
    silenceAtCommit: () => {
      atCommit = "silence";
    },
    isSilent: () => state === "silent",
    lead: (url) => {
      target = new URL(url);
      endAll();
    },
    roundTrips: () => {
      const count = trips;
      trips = 0;
      return count;
    },
    unheard: () => unheard,
    close: async () => {
      endAll();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function laneTo(socket: Socket, isHeld: () => boolean): Lane {
  const held: Buffer[] = [];
  let isEnded = false;
  return {
    send: (bytes) => {
      if (isHeld()) held.push(bytes);
      else socket.write(bytes);
    },
    end: () => {
      isEnded = true;
      if (!isHeld()) socket.destroy();
    },
    release: () => {
      for (const bytes of held.splice(0)) socket.write(bytes);
      if (isEnded) socket.end();
    },
  };
}

/** Cuts what a server says into whole messages, and leaves out those that aren't wanted. */
function splitMessages(isWanted: (type: number) => boolean): (bytes: Buffer) => readonly Buffer[] {
  let rest: Buffer = Buffer.alloc(0);
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    const wanted: Buffer[] = [];
    let at = 0;
    while (rest.length - at >= PREFIX_BYTES) {
      const end = at + 1 + rest.readUInt32BE(at + 1);
      if (end > rest.length) break;
      if (isWanted(rest.readUInt8(at))) wanted.push(rest.subarray(at, end));
      at = end;
    }
    rest = rest.subarray(at);
    return wanted.length === 0 ? [] : [Buffer.concat(wanted)];
  };
}

function countOf(bytes: Buffer, sought: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(sought); at >= 0; at = bytes.indexOf(sought, at + sought.length)) count += 1;
  return count;
}
