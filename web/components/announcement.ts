import type { ChatMessage } from '../host/conversations.ts';
import { splitThinking } from './answer-text.ts';

/** A screen reader speaks this much of an answer by itself; the rest waits in the conversation. */
const SPOKEN_LENGTH = 400;

/** What a screen reader says once when an answer has ended. */
export const announcement = ({ text, state, error }: ChatMessage): string => {
  if (state === 'failed') return `The answer broke off. ${error ?? ''}`;
  const { answer } = splitThinking(text);
  const start =
    answer.length > SPOKEN_LENGTH ? `${answer.slice(0, SPOKEN_LENGTH)}… The rest is in the conversation.` : answer;
  return state === 'stopped' ? `Stopped. ${start}` : `Answer: ${start}`;
};
