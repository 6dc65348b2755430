/** An answer in its two parts: some models think aloud between `<think>` and `</think>` first. */
export interface AnswerParts {
  thinking: string;
  answer: string;
  /** The thoughts have not ended yet. */
  open: boolean;
}

const OPEN = '<think>';
const CLOSE = '</think>';

/** Cuts leading thoughts off; a text that does not begin with them is all answer. */
export const splitThinking = (text: string): AnswerParts => {
  const start = text.trimStart();
  if (!start.startsWith(OPEN)) return { thinking: '', answer: text, open: false };
  const end = start.indexOf(CLOSE);
  if (end < 0) return { thinking: start.slice(OPEN.length).trim(), answer: '', open: true };
  return {
    thinking: start.slice(OPEN.length, end).trim(),
    answer: start.slice(end + CLOSE.length).trimStart(),
    open: false,
  };
};
