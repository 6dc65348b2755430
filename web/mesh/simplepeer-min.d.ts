/** The browser build: the package's main entry needs `global` and `process`, which Vite does not make up. */
declare module 'simple-peer/simplepeer.min.js' {
  import SimplePeer from 'simple-peer';

  export default SimplePeer;
}
