import { css } from 'lit';

/** Tables of figures that scroll sideways where there is little room. */
export const table = css`
  .scroll {
    overflow-x: auto;
    border: 1px solid var(--line);
    border-radius: var(--radius-small);
    background: var(--surface);
  }

  table {
    width: 100%;
    border-collapse: collapse;
    font-size: 0.8rem;
    font-variant-numeric: tabular-nums;
    line-height: 1.35;
  }

  th,
  td {
    padding: 0.35rem 0.55rem;
    text-align: right;
    white-space: nowrap;
  }

  thead th {
    background: var(--sunken);
    color: var(--muted);
    font-weight: 550;
  }

  tbody tr + tr > * {
    border-top: 1px solid var(--line);
  }

  tbody th {
    font-weight: 550;
  }

  .words {
    text-align: left;
  }

  tbody .words {
    min-width: 9rem;
    font-weight: 450;
    white-space: normal;
  }
`;
