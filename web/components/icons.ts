import { html, svg, type TemplateResult } from 'lit';

/** Line icons on a 24-unit grid. They only repeat what a control's label says, so they are hidden from screen readers. */
const icon = (paths: TemplateResult<2>): TemplateResult =>
  html`<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${paths}</svg>`;

export const menuIcon = icon(svg`<path d="M4 7h16M4 12h16M4 17h16"/>`);
export const plusIcon = icon(svg`<path d="M12 5v14M5 12h14"/>`);
export const closeIcon = icon(svg`<path d="m6 6 12 12M18 6 6 18"/>`);
export const sendIcon = icon(svg`<path d="M12 19V5M6 11l6-6 6 6"/>`);
export const stopIcon = icon(svg`<rect x="7" y="7" width="10" height="10" rx="1.5" fill="currentColor"/>`);
export const pauseIcon = icon(svg`<path d="M9 6v12M15 6v12"/>`);
export const playIcon = icon(svg`<path d="m8 5 11 7-11 7z"/>`);
export const copyIcon = icon(svg`<rect x="9" y="9" width="11" height="11" rx="2"/><path d="M5 15V6a2 2 0 0 1 2-2h8"/>`);
export const pencilIcon = icon(svg`<path d="m4 20 1-4L16 5l3 3L8 19z"/>`);
export const againIcon = icon(svg`<path d="M19 8a8 8 0 1 0 1 6M20 4v5h-5"/>`);
export const forwardIcon = icon(svg`<path d="M5 12h13M12 6l6 6-6 6"/>`);
export const binIcon = icon(svg`<path d="M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5"/>`);
export const slidersIcon = icon(
  svg`<path d="M4 7h9M17 7h3M4 17h3M11 17h9"/><circle cx="15" cy="7" r="2"/><circle cx="9" cy="17" r="2"/>`,
);
export const chipIcon = icon(
  svg`<rect x="7" y="7" width="10" height="10" rx="2"/><path d="M10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4"/>`,
);
export const meshIcon = icon(
  svg`<circle cx="6" cy="7" r="2.5"/><circle cx="18" cy="6" r="2.5"/><circle cx="13" cy="18" r="2.5"/><path d="M8.5 6.8l7-.6M7.2 9.2l4.5 6.6M17.1 8.3l-3.2 7.4"/>`,
);
export const fileIcon = icon(svg`<path d="M7 3h7l4 4v14H7zM14 3v4h4"/>`);
export const downIcon = icon(svg`<path d="M12 5v14M6 13l6 6 6-6"/>`);
export const chevronIcon = icon(svg`<path d="m7 10 5 5 5-5"/>`);
