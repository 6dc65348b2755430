/** What the plan socket asks of the hosts' pages over their rooms' connections, and their answers. */
import { type DownOf, MAX_PLAN_REPLY_LENGTH, type UpOf } from '../web/mesh/messages.ts';

/** The rooms as the plan socket needs them. */
export interface PlanRooms {
  /** Ids of the rooms whose host is connected. */
  hosted(): string[];
  /** Resolves with the host's answer, JSON on one line. Rejects in words: the host is gone, or does not answer in time. */
  ask(room: string, request: string): Promise<string>;
}

export interface PlanRequestsOptions {
  hosted(): string[];
  toHost(room: string, message: DownOf<'plan'>): boolean;
  /** How long in ms a host may take. */
  timeoutMs: number;
}

export interface PlanRequests extends PlanRooms {
  /** A part of an answer has come from a room's host. */
  take(room: string, message: UpOf<'plan-reply'>): void;
}

interface Open {
  room: string;
  text: string;
  finish(result: { text: string } | { error: string }): void;
}

export function createPlanRequests({ hosted, toHost, timeoutMs }: PlanRequestsOptions): PlanRequests {
  const open = new Map<number, Open>();
  let nextId = 0;

  return {
    hosted,
    ask(room, request) {
      const id = nextId++ >>> 0;
      return new Promise((resolve, reject) => {
        const seconds = timeoutMs / 1000;
        const timer = setTimeout(
          () =>
            finish({ error: `The host's page has not answered for ${seconds} s. Is its tab still open and awake?` }),
          timeoutMs,
        );
        const finish: Open['finish'] = (result) => {
          clearTimeout(timer);
          open.delete(id);
          if ('text' in result) resolve(result.text);
          else reject(new Error(result.error));
        };
        open.set(id, { room, text: '', finish });
        if (!toHost(room, { type: 'plan', id, request }))
          finish({ error: "The room's host is not connected. Open its page." });
      });
    },
    take(room, { id, text, last }) {
      const entry = open.get(id);
      // Too late, or to a question that another room's host was asked.
      if (entry?.room !== room) return;
      entry.text += text;
      if (entry.text.length > MAX_PLAN_REPLY_LENGTH) entry.finish({ error: "The host's answer is too long." });
      else if (last) entry.finish({ text: entry.text });
    },
  };
}
