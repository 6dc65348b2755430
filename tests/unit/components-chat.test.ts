import { describe, expect, test } from 'vitest';
import type { GenerateOptions, Generation } from '../../web/api.ts';
import { ChatSession } from '../../web/components/state/chat-session.ts';
import { promptMessages, titleOf } from '../../web/components/state/prompt.ts';
import { defaultSettings, type Settings } from '../../web/components/state/settings.ts';
import { type ChatMessage, type ConversationStore, memoryConversations } from '../../web/host/conversations.ts';

/** A model whose answers the test gives out token by token. */
class Puppet {
  asked: GenerateOptions[] = [];
  #given = '';
  #end: ((finish: Generation['finishReason'] | Error) => void) | undefined;

  readonly render = async (messages: { role: string; content: string }[]): Promise<string> =>
    `${messages.map(({ role, content }) => `<${role}>${content}`).join('')}<assistant>`;

  readonly generate = (options: GenerateOptions): Promise<Generation> => {
    this.asked.push(options);
    this.#given = '';
    return new Promise((resolve, reject) => {
      this.#end = (finish) => {
        if (finish instanceof Error) reject(finish);
        else resolve(this.#generation(finish));
      };
      options.signal?.addEventListener('abort', () => this.end('abort'));
    });
  };

  say(text: string): void {
    this.#given += text;
    this.asked.at(-1)?.onToken?.({ id: 1, text, at: 10 * this.#given.length });
  }

  end(finish: Generation['finishReason'] | Error = 'stop'): void {
    this.#end?.(finish);
  }

  #generation(finishReason: Generation['finishReason']): Generation {
    const timings = { promptTokens: 5, cachedTokens: 2, prefillMs: 30, decodeTokens: 3, decodeMs: 90, gapsMs: [] };
    return { ids: [1, 2, 3, 4], promptIds: [], text: this.#given, finishReason, seed: 1, timings };
  }
}

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

const setUp = (change: Partial<Settings> = {}, store: ConversationStore = memoryConversations()) => {
  const puppet = new Puppet();
  const settings = { ...defaultSettings(), ...change };
  const chats = new ChatSession({ handle: puppet, store, settings: () => settings, model: () => 'm' });
  return { puppet, chats, store };
};

const texts = (messages: readonly ChatMessage[]) => messages.map(({ text }) => text);

describe('what the template is given', () => {
  const said = (role: ChatMessage['role'], text: string): ChatMessage => ({ role, text, state: 'done' });

  test('the system prompt comes first, when there is one', () => {
    expect(promptMessages('Be brief.', [said('user', 'a')])).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'a' },
    ]);
    expect(promptMessages('  ', [said('user', 'a')])).toEqual([{ role: 'user', content: 'a' }]);
  });

  test('roles alternate even after an answer that never came', () => {
    const chat = [said('user', 'a'), said('assistant', ''), said('user', 'b')];
    expect(promptMessages('', chat)).toEqual([{ role: 'user', content: 'a\n\nb' }]);
  });

  test('a title is the beginning of the first message, cut at a word', () => {
    expect(titleOf(' short\n one ')).toBe('short one');
    expect(titleOf('word '.repeat(30))).toBe(`${'word '.repeat(11)}word…`);
  });
});

describe('a chat', () => {
  test('streams its answer and keeps it with what it cost', async () => {
    const { puppet, chats, store } = setUp({ seed: 9, systemPrompt: 'S' });
    const answered = chats.send('Hello there');
    expect(chats.activity).toBe('reading');
    await soon();
    expect(puppet.asked[0]).toMatchObject({
      messages: [
        { role: 'system', content: 'S' },
        { role: 'user', content: 'Hello there' },
      ],
      seed: 9,
      temperature: 0.7,
      maxTokens: 512,
    });
    puppet.say('Good ');
    puppet.say('day');
    expect(chats.activity).toBe('writing');
    expect(chats.liveRate).toBe(1000 / 30);
    expect(texts(chats.messages)).toEqual(['Hello there', 'Good day']);
    puppet.end();
    await answered;
    expect(chats.activity).toBe('idle');
    const kept = await store.messages(chats.id);
    expect(kept[1]).toMatchObject({ text: 'Good day', state: 'done', model: 'm', speed: { decodeTokens: 3 } });
    expect((await store.list()).map(({ title }) => title)).toEqual(['Hello there']);
  });

  test('is saved while its answer streams', async () => {
    const { puppet, chats, store } = setUp();
    void chats.send('a');
    await soon();
    puppet.say('half');
    chats.flush();
    await soon();
    expect((await store.messages(chats.id))[1]).toMatchObject({ text: 'half', state: 'streaming' });
  });

  test('keeps what was written when it is stopped, and goes on from there', async () => {
    const { puppet, chats } = setUp();
    const answered = chats.send('a');
    await soon();
    puppet.say('one two');
    chats.stop();
    await answered;
    expect(chats.messages[1]).toMatchObject({ text: 'one two', state: 'stopped' });
    const resumed = chats.resume();
    await soon();
    expect(puppet.asked[1]).toMatchObject({ prompt: '<user>a<assistant>one two' });
    expect(puppet.asked[1]?.messages).toBeUndefined();
    puppet.say(' three');
    puppet.end();
    await resumed;
    expect(chats.messages).toHaveLength(2);
    expect(chats.messages[1]).toMatchObject({ text: 'one two three', state: 'done' });
  });

  test('tells the limit of an answer from the end of the context', async () => {
    const { puppet, chats } = setUp({ maxTokens: 4 });
    const limited = chats.send('a');
    await soon();
    puppet.end('length');
    await limited;
    expect(chats.messages[1]?.state).toBe('length');
    const other = setUp({ maxTokens: 100 });
    const full = other.chats.send('a');
    await soon();
    other.puppet.end('length');
    await full;
    expect(other.chats.messages[1]?.state).toBe('full');
  });

  test('shows why an answer broke off and can ask again', async () => {
    const { puppet, chats } = setUp();
    const answered = chats.send('a');
    await soon();
    puppet.say('x');
    puppet.end(new Error('The device was lost.'));
    await answered;
    expect(chats.messages[1]).toMatchObject({ text: 'x', state: 'failed', error: 'The device was lost.' });
    const again = chats.regenerate();
    await soon();
    puppet.say('y');
    puppet.end();
    await again;
    expect(texts(chats.messages)).toEqual(['a', 'y']);
  });

  test('an edited message replaces what followed it', async () => {
    const { puppet, chats, store } = setUp();
    for (const text of ['a', 'b']) {
      const answered = chats.send(text);
      await soon();
      puppet.say(`to ${text}`);
      puppet.end();
      await answered;
    }
    const edited = chats.edit(0, 'A');
    await soon();
    puppet.say('to A');
    puppet.end();
    await edited;
    expect(texts(chats.messages)).toEqual(['A', 'to A']);
    expect(texts(await store.messages(chats.id))).toEqual(['A', 'to A']);
  });

  test('goes on being answered while another is shown', async () => {
    const { puppet, chats, store } = setUp();
    const answered = chats.send('a');
    await soon();
    const first = chats.id;
    chats.startNew();
    expect([chats.activity, chats.answeringId]).toEqual(['idle', first]);
    await chats.send('must wait');
    expect(chats.messages).toEqual([]);
    puppet.say('yes');
    puppet.end();
    await answered;
    expect(texts(await store.messages(first))).toEqual(['a', 'yes']);
    await chats.select(first);
    expect(texts(chats.messages)).toEqual(['a', 'yes']);
  });

  test('is found again by the next page, renamed, deleted', async () => {
    const { puppet, chats, store } = setUp();
    const answered = chats.send('a');
    await soon();
    puppet.end();
    await answered;
    await chats.rename(chats.id, ' Better name ');
    const next = setUp({}, store);
    await next.chats.start(chats.id);
    expect([next.chats.title, texts(next.chats.messages)[0]]).toEqual(['Better name', 'a']);
    await next.chats.remove(next.chats.id);
    expect(await store.list()).toEqual([]);
    expect(next.chats.messages).toEqual([]);
  });

  test('that is deleted while it is being answered does not come back', async () => {
    const { puppet, chats, store } = setUp();
    const answered = chats.send('a');
    await soon();
    puppet.say('x');
    await chats.remove(chats.id);
    await answered;
    await soon();
    expect(await store.list()).toEqual([]);
    expect(chats.chats).toEqual([]);
  });

  test('goes on when it cannot be saved, and says so', async () => {
    const store = memoryConversations();
    store.putMessage = () => Promise.reject(new Error('The disk is full'));
    const { puppet, chats } = setUp({}, store);
    const answered = chats.send('a');
    await soon();
    puppet.say('x');
    puppet.end();
    await answered;
    await soon();
    expect(texts(chats.messages)).toEqual(['a', 'x']);
    expect(chats.problem).toContain('The disk is full');
    chats.dismissProblem(chats.problem ?? '');
    expect(chats.problem).toBeUndefined();
  });
});
