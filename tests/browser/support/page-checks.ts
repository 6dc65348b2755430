import type { Page } from '@playwright/test';

/** Collects what a page should not have: violations of its content security policy, errors, rejections. Call before `goto`. */
export async function watchFaults(page: Page): Promise<() => Promise<string[]>> {
  await page.addInitScript(() => {
    const faults: string[] = [];
    Object.assign(window, { faults });
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sample }) => {
      faults.push(`${violatedDirective} blocked ${blockedURI} ${sample}`);
    });
    window.addEventListener('error', ({ message }) => faults.push(message));
    window.addEventListener('unhandledrejection', ({ reason }) => faults.push(String(reason)));
  });
  return () => page.evaluate(() => (window as unknown as { faults: string[] }).faults);
}

/** Controls without a name and fields without a label, in all shadow roots. */
export function namelessControls(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const controls = 'button, input, select, textarea, a[href], progress, summary, img, [role=img], [role=slider]';
    const found: string[] = [];
    const look = (root: Document | ShadowRoot): void => {
      for (const element of root.querySelectorAll('*')) {
        if (element.shadowRoot) look(element.shadowRoot);
        if (!element.matches(controls) || element.getAttribute('alt') === '') continue;
        const labels = 'labels' in element ? [...((element.labels as NodeListOf<HTMLElement> | null) ?? [])] : [];
        const by = (element.getAttribute('aria-labelledby') ?? '')
          .split(' ')
          .map((id) => id && root.getElementById(id));
        const names = [
          ...[element.getAttribute('aria-label'), element.getAttribute('alt'), element.textContent],
          ...[...labels, ...by].map((label) => (label ? label.textContent : '')),
        ];
        if (!names.some((name) => name?.trim())) found.push(element.outerHTML);
      }
    };
    look(document);
    return found;
  });
}

/** How far the page reaches beyond the window's right edge, in CSS pixels. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}
