/**
 * Puts text on the clipboard; false when the browser refuses. Plain http has no clipboard interface, so an invisible
 * text field and the old command stand in for it there.
 */
export const copyText = async (text: string): Promise<boolean> => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text);
  }
};

/** The element that has the focus, also inside shadow roots. */
const focusedElement = (): Element | null => {
  let focused = document.activeElement;
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  return focused;
};

const copyByCommand = (text: string): boolean => {
  const focused = focusedElement();
  const field = document.createElement('textarea');
  field.value = text;
  field.className = 'copy-source';
  document.body.append(field);
  field.select();
  try {
    return document.execCommand('copy');
  } finally {
    field.remove();
    if (focused instanceof HTMLElement) focused.focus();
  }
};
