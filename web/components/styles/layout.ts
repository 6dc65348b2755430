import { css } from 'lit';

/** The page's frame: three columns on a desktop, drawers over one column on a phone. */
export const layout = css`
  :host {
    display: flex;
    height: 100vh;
    height: 100dvh;
    overflow: hidden;
  }

  .main {
    display: flex;
    flex: 1;
    flex-direction: column;
    min-width: 0;
  }

  chat-transcript,
  model-picker {
    flex: 1;
    min-height: 0;
  }

  .chats {
    display: flex;
    flex: none;
    flex-direction: column;
    width: 17rem;
    border-right: 1px solid var(--line);
    background: var(--background);
  }

  .brand,
  .bar,
  .panel-head {
    display: flex;
    flex: none;
    align-items: center;
    gap: 0.6rem;
    min-height: 3.5rem;
    padding: 0 0.75rem;
  }

  .brand span {
    flex: 1;
    font-weight: 650;
  }

  .brand img {
    display: block;
  }

  .brand .close {
    display: none;
  }

  .new {
    flex: none;
    margin: 0.25rem 0.75rem 0.75rem;
  }

  .list {
    flex: 1;
    min-height: 0;
    padding: 0 0.75rem 1rem;
    overflow-y: auto;
  }

  .theme {
    display: flex;
    flex: none;
    align-items: center;
    gap: 0.75rem;
    padding: 0.6rem 0.75rem;
    border-top: 1px solid var(--line);
  }

  .theme select {
    flex: 1;
    min-height: 2.2rem;
  }

  .bar {
    justify-content: space-between;
    border-bottom: 1px solid var(--line);
  }

  .bar .menu {
    display: none;
  }

  .model {
    flex: 0 1 auto;
    justify-content: flex-start;
    min-width: 0;
    margin-right: auto;
    padding: 0.25rem 0.6rem;
    text-align: left;
  }

  .devices {
    position: relative;
  }

  .badge {
    position: absolute;
    top: 0.15rem;
    right: 0.05rem;
    min-width: 1rem;
    padding: 0 0.25rem;
    border-radius: 0.5rem;
    background: var(--accent);
    color: var(--on-accent);
    font-size: 0.7rem;
    font-weight: 650;
    line-height: 1rem;
  }

  mesh-knocks {
    --knocks-margin: 0.6rem 0.75rem;

    flex: none;
  }

  .names {
    display: grid;
    min-width: 0;
    line-height: 1.25;
  }

  .names > span {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }

  .name {
    color: var(--text);
  }

  .names .fine {
    font-weight: 450;
  }

  .notices {
    display: flex;
    flex: none;
    flex-direction: column;
    gap: 0.5rem;
    max-height: 30vh;
    padding: 0.6rem 0.75rem;
    overflow-y: auto;
  }

  .dock {
    flex: none;
    width: 100%;
    max-width: calc(var(--column) + 1rem);
    max-height: 60vh;
    margin: 0 auto;
    padding: 0.25rem 0.75rem 0.75rem;
    padding-bottom: max(0.75rem, env(safe-area-inset-bottom));
    overflow-y: auto;
  }

  .dock load-panel {
    margin-bottom: 0.6rem;
  }

  .no-model {
    padding: 0.9rem 1rem;
    border: 1px solid var(--line);
    border-radius: var(--radius);
    background: var(--surface);
  }

  .no-model .row {
    margin-top: 0.6rem;
  }

  .no-model button {
    max-width: 100%;
    overflow-wrap: anywhere;
  }

  .panel {
    display: flex;
    flex: none;
    flex-direction: column;
    width: 22rem;
    border-left: 1px solid var(--line);
    background: var(--background);
  }

  /* The plan picture needs its width. */
  .panel.wide {
    width: clamp(22rem, 38vw, 46rem);
  }

  .panel.wide.over {
    width: min(34rem, 100vw);
    max-width: 100vw;
  }

  .panel-head h2 {
    flex: 1;
    padding-left: 0.25rem;
  }

  side-panel {
    flex: 1;
  }

  .settings h3 {
    margin-bottom: 0.6rem;
  }

  .settings h3:not(:first-child) {
    margin-top: 1.75rem;
    padding-top: 1.25rem;
    border-top: 1px solid var(--line);
  }

  .reload {
    margin-top: 0.75rem;
  }

  .scrim {
    position: fixed;
    z-index: 1;
    inset: 0;
    background: rgb(0 0 0 / 40%);
  }

  .over {
    position: fixed;
    z-index: 2;
    top: 0;
    bottom: 0;
    max-width: calc(100vw - 3rem);
    box-shadow: var(--shadow);
  }

  .chats.over {
    left: 0;
    width: 19rem;
  }

  .panel.over {
    right: 0;
  }

  .dropping {
    position: fixed;
    z-index: 3;
    inset: 0.75rem;
    display: grid;
    place-items: center;
    border: 2px dashed var(--accent);
    border-radius: 16px;
    background: color-mix(in srgb, var(--accent-soft) 92%, transparent);
    font-size: 1.1rem;
    font-weight: 600;
    pointer-events: none;
  }

  @media (max-width: 47.99rem) {
    .chats:not(.over) {
      display: none;
    }

    .bar .menu,
    .brand .close {
      display: inline-flex;
    }

    .bar,
    .brand,
    .panel-head {
      padding: 0 0.4rem;
      gap: 0.25rem;
    }

    .brand {
      padding-left: 0.75rem;
      gap: 0.6rem;
    }
  }
`;
