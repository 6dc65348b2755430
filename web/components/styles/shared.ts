import { css } from 'lit';

/** Controls and text that look alike in every element; the colours are the custom properties of `styles/page.css`. */
export const shared = css`
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }

  :host {
    display: block;
  }

  :host([hidden]),
  [hidden] {
    display: none !important;
  }

  h1,
  h2,
  h3,
  p,
  ul,
  ol,
  dl,
  dd,
  fieldset {
    margin: 0;
    padding: 0;
    border: 0;
  }

  ul,
  ol {
    list-style: none;
  }

  h1 {
    font-size: 1.5rem;
    line-height: 1.25;
    letter-spacing: -0.01em;
  }

  h2 {
    font-size: 1rem;
    line-height: 1.35;
  }

  h3 {
    font-size: 0.9rem;
    line-height: 1.35;
  }

  button,
  input,
  select,
  textarea {
    font: inherit;
    color: inherit;
  }

  button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.45rem;
    min-height: 2.5rem;
    padding: 0.4rem 0.9rem;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius-small);
    background: var(--surface);
    font-weight: 550;
    line-height: 1.2;
    text-align: center;
    cursor: pointer;
  }

  button:hover:not(:disabled) {
    background: var(--sunken);
  }

  button.primary {
    border-color: transparent;
    background: var(--accent);
    color: var(--on-accent);
  }

  button.primary:hover:not(:disabled) {
    background: var(--accent-hover);
  }

  button.quiet {
    border-color: transparent;
    background: none;
    color: var(--muted);
  }

  button.quiet:hover:not(:disabled) {
    background: var(--sunken);
    color: var(--text);
  }

  button.danger {
    border-color: var(--danger);
    color: var(--danger);
  }

  button.small {
    min-height: 2rem;
    padding: 0.2rem 0.6rem;
    font-size: 0.85rem;
  }

  button.icon {
    flex: none;
    width: 2.5rem;
    padding: 0;
  }

  button.icon.small {
    width: 2rem;
  }

  button:disabled,
  input:disabled,
  select:disabled,
  textarea:disabled {
    cursor: default;
    opacity: 0.5;
  }

  svg {
    flex: none;
    width: 1.2em;
    height: 1.2em;
  }

  input:not([type='checkbox'], [type='range']),
  select,
  textarea {
    width: 100%;
    min-width: 0;
    min-height: 2.5rem;
    padding: 0.4rem 0.65rem;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius-small);
    background: var(--surface);
  }

  textarea {
    display: block;
    resize: vertical;
    line-height: 1.5;
  }

  ::placeholder {
    color: var(--muted);
    opacity: 1;
  }

  :focus-visible {
    outline: 2px solid var(--accent);
    outline-offset: 2px;
  }

  a {
    color: var(--accent);
  }

  label {
    font-weight: 550;
  }

  summary {
    width: fit-content;
    border-radius: var(--radius-small);
    cursor: pointer;
  }

  progress {
    display: block;
    appearance: none;
    width: 100%;
    height: 8px;
    overflow: hidden;
    border: 0;
    border-radius: 4px;
    background: var(--line);
  }

  progress::-webkit-progress-bar {
    background: var(--line);
  }

  progress::-webkit-progress-value {
    border-radius: 4px;
    background: var(--accent);
  }

  progress::-moz-progress-bar {
    border-radius: 4px;
    background: var(--accent);
  }

  .muted {
    color: var(--muted);
  }

  .fine {
    font-size: 0.85rem;
  }

  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    margin: -1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }

  .row {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.5rem;
  }

  .stack {
    display: flex;
    flex-direction: column;
    gap: 0.75rem;
  }
`;
