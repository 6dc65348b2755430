/*
 * Runs before everything else, in any browser: puts on the chosen colours, and, until the application is up, shows in
 * the page whatever goes wrong. Plain old JavaScript on purpose; it is the part that must work where nothing else does.
 */
(function () {
  var root = document.documentElement;

  try {
    var theme = JSON.parse(localStorage.getItem('edgevisor-settings') || '{}').theme;
    if (theme === 'light' || theme === 'dark') root.setAttribute('data-theme', theme);
  } catch (_) {
    /* Blocked site data: the system's colours it is. */
  }

  function show(text) {
    if (root.hasAttribute('data-started')) return;
    var place = document.getElementById('startup-problem');
    if (!place) {
      document.addEventListener('DOMContentLoaded', function () {
        show(text);
      });
      return;
    }
    var status = document.getElementById('startup-status');
    if (status) status.textContent = 'The page could not start.';
    if (place.textContent === '') place.textContent = text;
  }

  window.addEventListener(
    'error',
    function (event) {
      var source = event.target && (event.target.src || event.target.href);
      if (source) {
        show('A part of the page could not be loaded: ' + source + '. Check the connection to the server and reload.');
      } else {
        show(
          (event.message || 'Unknown error') +
            '. Reload the page; if that does not help, update the browser: this page needs a current Chrome, Edge, Firefox or Safari.'
        );
      }
    },
    true
  );
  window.addEventListener('unhandledrejection', function (event) {
    var reason = event.reason;
    show(String((reason && reason.message) || reason) + '. Reload the page to try again.');
  });

  document.addEventListener('readystatechange', function () {
    var status = document.getElementById('startup-status');
    if (document.readyState === 'interactive' && status && status.textContent === '') status.textContent = 'Starting…';
  });

  if (!('noModule' in document.createElement('script'))) {
    show(
      'This browser does not know JavaScript modules, which this page is made of. Use a current Chrome, Edge, Firefox or Safari.'
    );
  }
})();
