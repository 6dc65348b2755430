import type { Message } from '../../api.ts';
import type { ChatMessage } from '../../host/conversations.ts';

/**
 * The messages that a chat template is given. An answer without text (stopped or failed before its first token) is left
 * out, and neighbours of one role become one message, because many templates refuse roles that do not alternate.
 */
export const promptMessages = (systemPrompt: string, chat: readonly ChatMessage[]): Message[] => {
  const messages: Message[] = [];
  if (systemPrompt.trim() !== '') messages.push({ role: 'system', content: systemPrompt });
  for (const { role, text } of chat) {
    if (text === '') continue;
    const last = messages.at(-1);
    if (last?.role === role) last.content += `\n\n${text}`;
    else messages.push({ role, content: text });
  }
  return messages;
};

const TITLE_LENGTH = 60;

/** A chat's first title: the beginning of its first message, cut at a word. */
export const titleOf = (text: string): string => {
  const line = text.trim().replace(/\s+/g, ' ');
  if (line.length <= TITLE_LENGTH) return line;
  const cut = line.slice(0, TITLE_LENGTH);
  const word = cut.lastIndexOf(' ');
  return `${word > TITLE_LENGTH / 2 ? cut.slice(0, word) : cut}…`;
};
