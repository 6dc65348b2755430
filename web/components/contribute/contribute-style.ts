import { css } from 'lit';

/** One column with targets for thumbs. */
export const contributeStyle = css`
  section {
    padding: 1.1rem;
    border: 1px solid var(--line);
    border-radius: var(--radius);
    background: var(--surface);
  }

  h2 {
    font-size: 1.3rem;
    letter-spacing: -0.01em;
  }

  p {
    overflow-wrap: anywhere;
  }

  button,
  .button {
    min-height: 3rem;
    padding: 0.6rem 1.1rem;
  }

  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius-small);
    color: var(--text);
    font-weight: 550;
    line-height: 1.2;
    text-align: center;
    text-decoration: none;
  }

  .button.primary {
    border-color: transparent;
    background: var(--accent);
    color: var(--on-accent);
  }

  .button.primary:hover {
    background: var(--accent-hover);
  }

  .actions {
    display: flex;
    flex-wrap: wrap;
    gap: 0.6rem;
    margin-top: 1rem;
  }

  .actions > * {
    flex: 1 1 8rem;
  }

  .problem {
    margin-top: 0.75rem;
    padding: 0.7rem 0.9rem;
    border: 1px solid var(--danger);
    border-radius: var(--radius-small);
    background: var(--danger-soft);
  }
`;
