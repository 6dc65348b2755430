/**
 * Saved chats, in IndexedDB through idb-keyval. A chat's heading and each of its messages are records of their own, so
 * that an answer can be saved again and again while it streams at the cost of that answer alone.
 */
import { createStore, promisifyRequest, type UseStore } from 'idb-keyval';

/** What one answer cost, for its line of figures. */
export interface AnswerSpeed {
  promptTokens: number;
  cachedTokens: number;
  prefillMs: number;
  decodeTokens: number;
  decodeMs: number;
}

/**
 * How a message stands. `streaming` is what a reload finds of an answer that was being written; `length` ended at the
 * limit of tokens for one answer, `full` at the end of the context; `failed` carries `error`.
 */
export type MessageState = 'done' | 'streaming' | 'stopped' | 'length' | 'full' | 'failed';

export interface ChatMessage {
  role: 'user' | 'assistant';
  text: string;
  state: MessageState;
  /** Name of the model that wrote it. */
  model?: string;
  speed?: AnswerSpeed;
  error?: string;
}

export interface ConversationHeading {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
}

/** Where chats are kept. Every call rejects when the store does not take it (full disk, closed database). */
export interface ConversationStore {
  /** False: the chats live only as long as the page. */
  readonly durable: boolean;
  /** Newest first. */
  list(): Promise<ConversationHeading[]>;
  /** In their order; empty for an id that is not there. */
  messages(id: string): Promise<ChatMessage[]>;
  /** Writes the heading and the message at `index`, both or neither. */
  putMessage(heading: ConversationHeading, index: number, message: ChatMessage): Promise<void>;
  putHeading(heading: ConversationHeading): Promise<void>;
  /** Drops the messages from `length` on. */
  truncate(heading: ConversationHeading, length: number): Promise<void>;
  remove(id: string): Promise<void>;
}

const DATABASE = 'edgevisor-chats-1';
const HEADING = 'heading';
const MESSAGE = 'message';
/** A database that another tab holds, or a broken profile, may never answer; the page must not wait for ever. */
const OPEN_LIMIT_MS = 5_000;

const newestFirst = (a: ConversationHeading, b: ConversationHeading): number => b.updated - a.updated;
const headingKey = (id: string): IDBValidKey => [HEADING, id];
const messageKey = (id: string, index: number): IDBValidKey => [MESSAGE, id, index];
/** Keys of the messages of a chat from `index` on; an array sorts after every number. */
const messagesFrom = (id: string, index: number): IDBKeyRange =>
  IDBKeyRange.bound([MESSAGE, id, index], [MESSAGE, id, []]);

/** Resolves when the whole transaction is on disk, and not only its last request. */
const write = (use: UseStore, change: (store: IDBObjectStore) => void): Promise<void> =>
  use('readwrite', (store) => {
    change(store);
    return promisifyRequest<void>(store.transaction);
  });

const indexedConversations = (use: UseStore): ConversationStore => ({
  durable: true,
  async list() {
    const range = IDBKeyRange.bound([HEADING], [HEADING, []]);
    const all = await use('readonly', (store) => promisifyRequest<ConversationHeading[]>(store.getAll(range)));
    return all.sort(newestFirst);
  },
  messages: (id) => use('readonly', (store) => promisifyRequest<ChatMessage[]>(store.getAll(messagesFrom(id, 0)))),
  putMessage: (heading, index, message) =>
    write(use, (store) => {
      store.put(heading, headingKey(heading.id));
      store.put(message, messageKey(heading.id, index));
    }),
  putHeading: (heading) => write(use, (store) => store.put(heading, headingKey(heading.id))),
  truncate: (heading, length) =>
    write(use, (store) => {
      store.put(heading, headingKey(heading.id));
      store.delete(messagesFrom(heading.id, length));
    }),
  remove: (id) =>
    write(use, (store) => {
      store.delete(headingKey(id));
      store.delete(messagesFrom(id, 0));
    }),
});

/** Chats that are gone with the page: for browsers that keep nothing. */
export const memoryConversations = (): ConversationStore => {
  const headings = new Map<string, ConversationHeading>();
  const messages = new Map<string, ChatMessage[]>();
  const of = (id: string): ChatMessage[] => messages.get(id) ?? [];
  return {
    durable: false,
    list: async () => [...headings.values()].sort(newestFirst),
    messages: async (id) => [...of(id)],
    async putMessage(heading, index, message) {
      headings.set(heading.id, heading);
      const list = [...of(heading.id)];
      list[index] = message;
      messages.set(heading.id, list);
    },
    async putHeading(heading) {
      headings.set(heading.id, heading);
    },
    async truncate(heading, length) {
      headings.set(heading.id, heading);
      messages.set(heading.id, of(heading.id).slice(0, length));
    },
    async remove(id) {
      headings.delete(id);
      messages.delete(id);
    },
  };
};

const within = async <T>(limitMs: number, work: Promise<T>): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the browser’s database did not answer')), limitMs);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
};

/**
 * Opens the saved chats. Never rejects: where IndexedDB is missing, refused (private windows) or silent, the chats are
 * kept in memory and `problem` says why, for the person to read.
 */
export const openConversations = async (): Promise<{ store: ConversationStore; problem?: string }> => {
  if (typeof indexedDB === 'undefined') {
    return {
      store: memoryConversations(),
      problem: 'This browser has no IndexedDB, so chats are forgotten when the page closes.',
    };
  }
  try {
    const store = indexedConversations(createStore(DATABASE, 'chats'));
    await within(OPEN_LIMIT_MS, store.list());
    return { store };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      store: memoryConversations(),
      problem: `Chats are forgotten when the page closes, because this browser refused to store them (${reason}). A private window or blocked site data is the usual reason.`,
    };
  }
};
