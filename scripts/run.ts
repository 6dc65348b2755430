import { spawn } from 'node:child_process';

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** `quiet`: what the program says is kept and shown only when it fails. */
  output?: 'show' | 'quiet';
}

/** A program ended with a failure; `message` names it and holds what it said when that was not shown already. */
export class RunError extends Error {
  constructor(
    readonly code: number | undefined,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'RunError';
  }
}

/** npm and npx are scripts on Windows, which only a shell can start; the arguments given here need no quoting. */
const needsShell = (command: string) => process.platform === 'win32' && (command === 'npm' || command === 'npx');

/** Runs a program to its end. Rejects with RunError when it fails or cannot be started. */
export function run(command: string, args: string[], options: RunOptions = {}): Promise<void> {
  const { env = process.env, cwd, output = 'show' } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env,
      cwd,
      shell: needsShell(command),
      stdio: output === 'show' ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    });
    const said: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => said.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => said.push(chunk));
    const line = [command, ...args].join(' ');
    child.once('error', (cause) =>
      reject(new RunError(undefined, `"${line}" could not be started: ${cause.message}`, { cause })),
    );
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else {
        const how = signal ? `was ended by ${signal}` : `failed with exit code ${code}`;
        reject(
          new RunError(code ?? undefined, [`"${line}" ${how}.`, Buffer.concat(said).toString()].join('\n').trim()),
        );
      }
    });
  });
}
