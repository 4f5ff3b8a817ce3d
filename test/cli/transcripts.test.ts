import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IS_UPDATE, openStage, readTranscript, writeTranscript } from "./transcript.ts";

const HERE = import.meta.dir;
const FILES = readdirSync(HERE).filter((name) => name.endsWith(".txt"));

describe("the command line answers as its transcript says, against a real server:", () => {
  // At the same time: most of it is waiting for programs to start.
  test.concurrent.each(FILES)("%s", async (name) => {
    const path = join(HERE, name);
    const transcript = readTranscript(readFileSync(path, "utf8"));
    expect(transcript.parts.length).toBeGreaterThan(0);
    const stage = await openStage();
    try {
      const parts = [];
      for (const part of transcript.parts) {
        const answer = await stage.run(part.step.command);
        parts.push({ ...part, step: { ...part.step, answer } });
        if (!IS_UPDATE)
          expect(`$ ${part.step.command}\n${answer}`).toBe(`$ ${part.step.command}\n${part.step.answer}`);
      }
      if (IS_UPDATE) writeFileSync(path, writeTranscript({ parts }));
      // R21: what was issued was told on standard output alone.
      for (const secret of stage.issued()) {
        for (const said of stage.said) expect(said).not.toContain(secret);
      }
    } finally {
      await stage.close();
    }
  });
});
