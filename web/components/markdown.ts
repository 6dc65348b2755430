/**
 * Markdown of an answer to HTML that is safe to show. A model's text is a stranger's text: raw HTML in it is shown as
 * it is written, images become links (an image would tell its server that the answer was read), and what marked makes
 * goes through DOMPurify with a short list of tags besides.
 */
import DOMPurify from 'dompurify';
import { Marked, type Token } from 'marked';

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const LINE_BREAK = /^<br\s*\/?>$/i;

const marked = new Marked({
  gfm: true,
  /** A model ends a line where it means to: the lines of a poem stay lines. */
  breaks: true,
  renderer: {
    html: ({ text }) => (LINE_BREAK.test(text.trim()) ? '<br>' : escapeHtml(text)),
    image({ href, text }) {
      return this.parser.renderer.link({
        type: 'link',
        raw: '',
        href,
        text,
        tokens: [{ type: 'text', raw: text, text: text || href }],
      });
    },
    code({ text, lang }) {
      const language = /^\S*/.exec(lang ?? '')?.[0] ?? '';
      const title = `<span class="code-language">${escapeHtml(language)}</span>`;
      const copy = '<button type="button" class="code-copy">Copy</button>';
      const body = `<pre tabindex="0"><code>${escapeHtml(text)}\n</code></pre>`;
      return `<div class="code"><div class="code-head">${title}${copy}</div>${body}</div>`;
    },
    checkbox: ({ checked }) => (checked ? '☑ ' : '☐ '),
  },
});

const PURIFY = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'hr', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'blockquote', 'ul', 'ol', 'li', 'strong', 'em', 'del'],
    ...['code', 'pre', 'a', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'div', 'span', 'button'],
  ],
  ALLOWED_ATTR: ['href', 'title', 'class', 'start', 'align', 'type', 'tabindex'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  /** No relative addresses either: a stranger's text has no business within this site. */
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ['align', 'start', 'type', 'tabindex'],
};

const purifier = (): typeof DOMPurify => {
  const purify = DOMPurify(window);
  purify.addHook('afterSanitizeAttributes', (node) => {
    if (node.tagName !== 'A') return;
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
  });
  return purify;
};
let purify: typeof DOMPurify | undefined;

const clean = (html: string): string => {
  purify ??= purifier();
  return purify.sanitize(html, PURIFY);
};

const isBlock = (token: Token): boolean => token.type !== 'space' && token.type !== 'def';

/** One way to end a line, so that every token's `raw` is a literal part of the text. */
const unified = (text: string): string => text.replace(/\r\n?/g, '\n');

const htmlOf = (token: Token): string => clean(marked.parser([token]));

/**
 * The HTML of a text, one string for each of its top-level blocks, so that a view replaces only the blocks that changed.
 */
export const renderMarkdown = (text: string): string[] => marked.lexer(unified(text)).filter(isBlock).map(htmlOf);

/** The blocks of one text of a view: cheap while it grows, whole and kept once it has ended. */
export class MarkdownText {
  readonly #growing = new GrowingMarkdown();
  #ended: { text: string; blocks: string[] } | undefined;

  blocks(text: string, growing: boolean): string[] {
    if (growing) return this.#growing.render(text);
    if (this.#ended?.text !== text) this.#ended = { text, blocks: renderMarkdown(text) };
    return this.#ended.blocks;
  }
}

/**
 * Renders a text that grows. Blocks that later text cannot change any more are parsed once and kept, so that the work
 * for a long answer grows with its length and not with its square. Link definitions apart from their use are the one
 * thing that only `renderMarkdown` of the finished text resolves.
 */
export class GrowingMarkdown {
  #text = '';
  /** Length of the text that `#kept` renders. */
  #keptLength = 0;
  #kept: string[] = [];

  /** Blocks of `text`, as `renderMarkdown` gives them; a text that does not continue the last one starts anew. */
  render(text: string): string[] {
    const whole = unified(text);
    if (!whole.startsWith(this.#text)) {
      this.#keptLength = 0;
      this.#kept = [];
    }
    this.#text = whole;
    const tokens = marked.lexer(whole.slice(this.#keptLength));
    // Only the last block can still change: every block before it was closed by the one that follows.
    const open = Math.max(0, tokens.findLastIndex(isBlock));
    for (const token of tokens.slice(0, open)) {
      this.#keptLength += token.raw.length;
      if (isBlock(token)) this.#kept.push(htmlOf(token));
    }
    return [...this.#kept, ...tokens.slice(open).filter(isBlock).map(htmlOf)];
  }
}
