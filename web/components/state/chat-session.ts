/**
 * The chats of the page: what is shown, what is being answered, and their place in the store. Knows the handle and the
 * store; knows nothing of elements.
 */
import type { EdgeVisor, GenerateOptions, Generation } from '../../api.ts';
import type {
  AnswerSpeed,
  ChatMessage,
  ConversationHeading,
  ConversationStore,
  MessageState,
} from '../../host/conversations.ts';
import { promptMessages, titleOf } from './prompt.ts';
import type { Settings } from './settings.ts';
import { throttled } from './throttle.ts';

/** How often an answer that streams is written to the store: what a killed tab may lose. */
const SAVE_INTERVAL_MS = 400;

/** `reading`: the prompt is being prefilled; `writing`: tokens arrive. */
export type Activity = 'idle' | 'reading' | 'writing';

interface Chat {
  heading: ConversationHeading;
  /** Replaced, never changed, so that a view sees by identity what is new. */
  messages: readonly ChatMessage[];
  removed: boolean;
}

interface Answering {
  chat: Chat;
  index: number;
  abort: AbortController;
  activity: Activity;
  tokens: number;
  firstAt: number;
  lastAt: number;
}

export interface ChatSessionParts {
  handle: Pick<EdgeVisor, 'generate' | 'render'>;
  settings: () => Settings;
  /** Name of the loaded model, to sign answers with; undefined while none is loaded. */
  model: () => string | undefined;
  store: ConversationStore;
}

const newId = (): string => {
  // Not randomUUID, which is missing on plain http.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
};

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const sampling = (settings: Settings): GenerateOptions => ({
  maxTokens: settings.maxTokens,
  temperature: settings.temperature,
  topK: settings.topK,
  topP: settings.topP,
  minP: settings.minP,
  repetitionPenalty: settings.repetitionPenalty,
  ...(settings.seed === undefined ? {} : { seed: settings.seed }),
});

const speedOf = ({ timings }: Generation): AnswerSpeed => ({
  promptTokens: timings.promptTokens,
  cachedTokens: timings.cachedTokens,
  prefillMs: timings.prefillMs,
  decodeTokens: timings.decodeTokens,
  decodeMs: timings.decodeMs,
});

const STATE_OF_FINISH = { stop: 'done', length: 'length', abort: 'stopped' } as const;

/** An answer that ended for its length before it had all the tokens that were allowed has filled the context. */
const endOf = ({ finishReason, ids }: Generation, maxTokens: number): MessageState =>
  finishReason === 'length' && ids.length < maxTokens ? 'full' : STATE_OF_FINISH[finishReason];

/** Dispatches `change` whenever anything below is different; views draw at most once a frame. */
export class ChatSession extends EventTarget {
  /** Newest first. */
  chats: readonly ConversationHeading[] = [];
  /** Why chats are not saved, for the person; undefined while they are. */
  problem: string | undefined;

  readonly #parts: ChatSessionParts;
  #shown: Chat = this.#emptyChat();
  #answering: Answering | undefined;
  readonly #saveSoon = throttled(SAVE_INTERVAL_MS, () => this.#saveAnswer());

  constructor(parts: ChatSessionParts) {
    super();
    this.#parts = parts;
  }

  get id(): string {
    return this.#shown.heading.id;
  }

  get title(): string {
    return this.#shown.heading.title;
  }

  get messages(): readonly ChatMessage[] {
    return this.#shown.messages;
  }

  /** Of the chat that is shown. */
  get activity(): Activity {
    return this.#answering?.chat === this.#shown ? this.#answering.activity : 'idle';
  }

  /** Id of the chat that is being answered. */
  get answeringId(): string | undefined {
    return this.#answering?.chat.heading.id;
  }

  /** Tokens a second of the answer that streams, from its first token on. */
  get liveRate(): number | undefined {
    const now = this.#answering;
    if (!now || now.tokens < 2 || now.lastAt <= now.firstAt) return undefined;
    return ((now.tokens - 1) * 1000) / (now.lastAt - now.firstAt);
  }

  /** Reads the saved chats and shows the one with this id, if it is there. */
  async start(lastId: string | undefined): Promise<void> {
    this.chats = await this.#parts.store.list();
    if (lastId !== undefined && this.chats.some(({ id }) => id === lastId)) await this.select(lastId);
    else this.#changed();
  }

  async select(id: string): Promise<void> {
    if (id === this.id) return;
    if (this.#answering?.chat.heading.id === id) {
      this.#shown = this.#answering.chat;
    } else {
      const heading = this.chats.find((chat) => chat.id === id);
      if (!heading) return;
      try {
        this.#shown = { heading, messages: await this.#parts.store.messages(id), removed: false };
      } catch (error) {
        this.#storeFailed('This chat could not be read', error);
      }
    }
    this.#changed();
  }

  startNew(): void {
    this.#shown = this.#emptyChat();
    this.#changed();
  }

  async rename(id: string, title: string): Promise<void> {
    const heading = this.chats.find((chat) => chat.id === id);
    const name = title.trim();
    if (!heading || name === '' || name === heading.title) return;
    await this.#putHeading({ ...heading, title: name });
  }

  async remove(id: string): Promise<void> {
    if (this.#answering?.chat.heading.id === id) {
      this.#answering.chat.removed = true;
      this.stop();
    }
    this.chats = this.chats.filter((chat) => chat.id !== id);
    if (this.id === id) {
      this.#shown.removed = true;
      this.#shown = this.#emptyChat();
    }
    this.#changed();
    await this.#parts.store.remove(id).catch((error) => this.#storeFailed('The chat could not be deleted', error));
  }

  /** Adds a message of the person and has it answered. Resolves when the answer has ended, in whichever way. */
  async send(text: string): Promise<void> {
    if (this.#answering || text.trim() === '') return;
    const chat = this.#shown;
    if (chat.messages.length === 0) chat.heading = { ...chat.heading, title: titleOf(text) };
    this.#put(chat, chat.messages.length, { role: 'user', text, state: 'done' });
    await this.#answer(chat, '');
  }

  /** Replaces a message of the person, drops what followed it, and has it answered. */
  async edit(index: number, text: string): Promise<void> {
    if (this.#answering || text.trim() === '') return;
    const chat = this.#shown;
    await this.#truncate(chat, index);
    this.#put(chat, index, { role: 'user', text, state: 'done' });
    await this.#answer(chat, '');
  }

  /** Drops the last answer and asks for another. */
  async regenerate(): Promise<void> {
    const chat = this.#shown;
    const last = chat.messages.at(-1);
    if (this.#answering || !last) return;
    if (last.role === 'assistant') await this.#truncate(chat, chat.messages.length - 1);
    await this.#answer(chat, '');
  }

  /** Goes on with the last answer where it broke off: stopped, cut by the limit, or by a reload. */
  async resume(): Promise<void> {
    const chat = this.#shown;
    const last = chat.messages.at(-1);
    if (this.#answering || last?.role !== 'assistant') return;
    if (last.text === '') await this.regenerate();
    else await this.#answer(chat, last.text);
  }

  /** Ends the answer that is being written; what is there of it stays. */
  stop(): void {
    this.#answering?.abort.abort();
  }

  /** Writes what waits to be saved: for a page that is about to go. */
  flush(): void {
    this.#saveSoon.flush();
  }

  /** The person has read this problem. */
  dismissProblem(text: string): void {
    if (this.problem === text) this.problem = undefined;
  }

  #emptyChat(): Chat {
    const now = Date.now();
    return { heading: { id: newId(), title: 'New chat', created: now, updated: now }, messages: [], removed: false };
  }

  #changed(): void {
    this.dispatchEvent(new Event('change'));
  }

  /** Asks the model. With `begun`, the last message is an answer that is to be continued from that text. */
  async #answer(chat: Chat, begun: string): Promise<void> {
    const settings = this.#parts.settings();
    const before = begun === '' ? chat.messages : chat.messages.slice(0, -1);
    const index = before.length;
    const model = this.#parts.model();
    let message: ChatMessage = {
      role: 'assistant',
      text: begun,
      state: 'streaming',
      ...(model === undefined ? {} : { model }),
    };
    const abort = new AbortController();
    const answering: Answering = { chat, index, abort, activity: 'reading', tokens: 0, firstAt: 0, lastAt: 0 };
    this.#answering = answering;
    this.#put(chat, index, message);

    try {
      const asked = promptMessages(settings.systemPrompt, before);
      const generation = await this.#parts.handle.generate({
        ...sampling(settings),
        ...(begun === ''
          ? { messages: asked }
          : { prompt: (await this.#parts.handle.render(asked, { generationPrompt: true })) + begun }),
        signal: abort.signal,
        onToken: ({ text, at }) => {
          if (this.#answering !== answering) return;
          if (answering.tokens === 0) answering.firstAt = at;
          answering.tokens += 1;
          answering.lastAt = at;
          answering.activity = 'writing';
          message = { ...message, text: message.text + text };
          chat.messages = [...before, message];
          this.#saveSoon.request();
          this.#changed();
        },
      });
      message = {
        ...message,
        text: begun + generation.text,
        state: endOf(generation, settings.maxTokens),
        speed: speedOf(generation),
      };
    } catch (error) {
      message = abort.signal.aborted
        ? { ...message, state: 'stopped' }
        : { ...message, state: 'failed', error: reasonOf(error) };
    }
    this.#answering = undefined;
    this.#put(chat, index, message);
  }

  #put(chat: Chat, index: number, message: ChatMessage): void {
    chat.messages = [...chat.messages.slice(0, index), message];
    chat.heading = { ...chat.heading, updated: Date.now() };
    this.#list(chat);
    this.#changed();
    void this.#save(chat, index, message);
  }

  #list(chat: Chat): void {
    if (chat.removed) return;
    this.chats = [chat.heading, ...this.chats.filter(({ id }) => id !== chat.heading.id)];
  }

  #saveAnswer(): void {
    const now = this.#answering;
    const message = now?.chat.messages[now.index];
    if (now && message) void this.#save(now.chat, now.index, message);
  }

  async #save(chat: Chat, index: number, message: ChatMessage): Promise<void> {
    if (chat.removed) return;
    try {
      await this.#parts.store.putMessage(chat.heading, index, message);
    } catch (error) {
      this.#storeFailed('This chat could not be saved, and is kept only until the page closes', error);
    }
  }

  async #truncate(chat: Chat, length: number): Promise<void> {
    chat.messages = chat.messages.slice(0, length);
    await this.#parts.store
      .truncate(chat.heading, length)
      .catch((error) => this.#storeFailed('The change could not be saved', error));
  }

  async #putHeading(heading: ConversationHeading): Promise<void> {
    this.chats = this.chats.map((chat) => (chat.id === heading.id ? heading : chat));
    for (const chat of [this.#shown, this.#answering?.chat]) {
      if (chat?.heading.id === heading.id) chat.heading = heading;
    }
    this.#changed();
    await this.#parts.store
      .putHeading(heading)
      .catch((error) => this.#storeFailed('The new name could not be saved', error));
  }

  #storeFailed(what: string, error: unknown): void {
    this.problem = `${what}: ${reasonOf(error)}. Free some space in this browser’s storage, or leave the private window.`;
    this.#changed();
  }
}
