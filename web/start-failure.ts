/** Shows why a page did not come up; `public/startup.js` has the place for it. */
export const showStartFailure = (error: unknown): void => {
  const place = document.getElementById('startup-problem');
  const status = document.getElementById('startup-status');
  if (status) status.textContent = 'The page could not start.';
  if (place) {
    const reason = error instanceof Error ? error.message : String(error);
    place.textContent = `${reason} Reload the page to try again.`;
  }
};
