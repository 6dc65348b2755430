import { css } from 'lit';

/** Height of a bar's line, and of the bar in it, in CSS pixels. 24 is the least that a target for fingers should have. */
export const TRACK = 26;
export const BAR = 14;

/** Kinds of share have a colour each, and words beside it. */
export const planStyle = css`
  :host {
    --heads: light-dark(#1f6d68, #74c7bb);
    --ffn: light-dark(#a85a12, #e5a55f);
    --vocab: light-dark(#5a56a8, #a9a5ee);
  }

  .stages {
    display: flex;
    gap: 0.6rem;
    padding: 2px;
    overflow-x: auto;
  }

  .stage {
    flex: 1 0 min(100%, 12.5rem);
    padding: 0.6rem 0.7rem 0.7rem;
    border: 1px solid var(--line);
    border-radius: var(--radius);
    background: var(--surface);
  }

  h4 {
    margin: 0;
    font-size: 0.85rem;
    line-height: 1.4;
  }

  h4 span {
    color: var(--muted);
    font-weight: 450;
  }

  .member {
    margin-top: 0.55rem;
    padding-top: 0.5rem;
    border-top: 1px solid var(--line);
  }

  .who {
    display: flex;
    flex-wrap: wrap;
    align-items: baseline;
    justify-content: space-between;
    gap: 0 0.75rem;
    font-size: 0.85rem;
    font-variant-numeric: tabular-nums;
  }

  .who strong {
    min-width: 0;
    overflow-wrap: anywhere;
    font-weight: 600;
  }

  .node {
    display: inline-block;
    min-width: 1.35rem;
    margin-right: 0.35rem;
    padding: 0 0.3rem;
    border-radius: 4px;
    background: var(--sunken);
    text-align: center;
  }

  .share {
    display: grid;
    grid-template-columns: 2.7rem minmax(0, 1fr) 3.1rem;
    align-items: center;
    gap: 0.5rem;
    font-size: 0.8rem;
    font-variant-numeric: tabular-nums;
    line-height: 1.2;
  }

  .share > :last-child {
    white-space: nowrap;
  }

  .track {
    display: block;
    width: 100%;
    height: ${TRACK}px;
    overflow: visible;
  }

  .ground {
    fill: var(--sunken);
    stroke: var(--line);
  }

  .heads {
    fill: var(--heads);
  }

  .ffn {
    fill: var(--ffn);
  }

  .vocab {
    fill: var(--vocab);
  }

  .coming,
  .going {
    fill-opacity: 0.35;
    stroke: currentColor;
    stroke-dasharray: 3 2;
  }

  .grip {
    cursor: ew-resize;
    touch-action: none;
    outline: none;
  }

  .grip .area {
    fill: transparent;
  }

  .grip .bar {
    fill: var(--text);
    stroke: var(--surface);
    stroke-width: 1.5;
  }

  .grip:hover .bar,
  .grip.held .bar {
    fill: var(--accent);
  }

  .grip:focus-visible .area {
    stroke: var(--accent);
    stroke-width: 2;
  }

  .grip[aria-disabled] {
    cursor: default;
    opacity: 0.3;
  }

  .foretold {
    min-height: 2.4em;
    margin-top: 0.5rem;
  }

  details {
    margin-top: 0.4rem;
  }

  @media (forced-colors: active) {
    .heads,
    .ffn,
    .vocab {
      fill: CanvasText;
    }

    .grip .bar {
      fill: Highlight;
    }
  }
`;
