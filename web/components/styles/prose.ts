import { css } from 'lit';

/** Rendered Markdown. */
export const prose = css`
  .prose {
    overflow-wrap: anywhere;
    line-height: 1.6;
  }

  .prose .block > * {
    margin: 0 0 0.8rem;
  }

  .prose .block:last-child > :last-child {
    margin-bottom: 0;
  }

  .prose h1,
  .prose h2,
  .prose h3,
  .prose h4,
  .prose h5,
  .prose h6 {
    padding-top: 0.3rem;
    font-size: 1.05rem;
    line-height: 1.35;
  }

  .prose h1 {
    font-size: 1.3rem;
  }

  .prose h2 {
    font-size: 1.15rem;
  }

  .prose ul,
  .prose ol {
    padding-left: 1.4rem;
  }

  .prose ul {
    list-style: disc;
  }

  .prose ol {
    list-style: decimal;
  }

  .prose li + li,
  .prose li > ul,
  .prose li > ol {
    margin-top: 0.25rem;
  }

  .prose blockquote {
    padding-left: 0.9rem;
    border-left: 3px solid var(--line-strong);
    color: var(--muted);
  }

  .prose hr {
    height: 0;
    border: 0;
    border-top: 1px solid var(--line);
  }

  .prose code {
    padding: 0.1em 0.3em;
    border-radius: 4px;
    background: var(--sunken);
    font-family: var(--mono);
    font-size: 0.88em;
  }

  .prose .code {
    overflow: hidden;
    border: 1px solid var(--line);
    border-radius: var(--radius-small);
    background: var(--sunken);
  }

  .prose .code-head {
    display: flex;
    align-items: center;
    justify-content: space-between;
    padding: 0.15rem 0.25rem 0.15rem 0.8rem;
    border-bottom: 1px solid var(--line);
    color: var(--muted);
    font-size: 0.8rem;
  }

  .prose .code-copy {
    min-height: 1.9rem;
    padding: 0.1rem 0.6rem;
    border-color: transparent;
    background: none;
    font-size: 0.8rem;
  }

  .prose .code-copy:hover {
    background: var(--line);
  }

  .prose pre {
    margin: 0;
    padding: 0.7rem 0.8rem;
    overflow-x: auto;
    overflow-wrap: normal;
    line-height: 1.5;
  }

  .prose pre:focus-visible {
    outline-offset: -2px;
  }

  .prose pre code {
    padding: 0;
    background: none;
    font-size: 0.86rem;
  }

  .prose table {
    display: block;
    max-width: 100%;
    overflow-x: auto;
    border-collapse: collapse;
    overflow-wrap: normal;
  }

  .prose th,
  .prose td {
    padding: 0.35rem 0.7rem;
    border: 1px solid var(--line);
    text-align: left;
    vertical-align: top;
  }

  .prose th {
    background: var(--sunken);
  }

  .prose [align='right'] {
    text-align: right;
  }

  .prose [align='center'] {
    text-align: center;
  }
`;
