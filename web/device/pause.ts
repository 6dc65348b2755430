const channel = new MessageChannel();
const waiting: (() => void)[] = [];
channel.port1.onmessage = () => {
  waiting.shift()?.();
  if (waiting.length === 0) keepAlive(false);
};
keepAlive(false);

/** Node lives for as long as an open port is heard, so only while somebody waits; browsers have no such methods. */
function keepAlive(wanted: boolean): void {
  const port: object = channel.port1;
  const method: unknown = Reflect.get(port, wanted ? 'ref' : 'unref');
  if (typeof method === 'function') method.call(port);
}

/**
 * Resolves in a new task, after messages that have already arrived: without it a loop of promises never hears "stop".
 * A message channel, because timers are held back to 4 ms when they follow each other.
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) keepAlive(true);
    channel.port2.postMessage(undefined);
  });
}
