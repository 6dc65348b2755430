const channel = new MessageChannel();
const waiting: (() => void)[] = [];
channel.port1.onmessage = () => waiting.shift()?.();
// Node would wait for the open port for ever; browsers have no such method.
if ('unref' in channel.port1 && typeof channel.port1.unref === 'function') channel.port1.unref();

/**
 * Resolves in a new task, after messages that have already arrived: without it a loop of promises never hears "stop".
 * A message channel, because timers are held back to 4 ms when they follow each other.
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(undefined);
  });
}
