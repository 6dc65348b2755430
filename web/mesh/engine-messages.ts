/** What the page's mesh and the engine's links say to each other over their MessagePort. */
import type { Endpoint } from './channel.ts';

export type LinkKind = 'webrtc' | 'relay';

export type ToEngine =
  /** First of all: where the heartbeats' Worker tells losses. */
  | { type: 'pulse'; port: MessagePort }
  /** A link is being made: its channels, not open yet. */
  | { type: 'link'; self: number; peer: number; attempt: number; kind: LinkKind; tensors: Endpoint; bulk: Endpoint }
  /** Now the largest message is known. */
  | { type: 'size'; peer: number; attempt: number; maxMessageBytes: number }
  | { type: 'drop'; peer: number; attempt: number; code: string; message: string };

export type FromEngine =
  | { type: 'up'; peer: number; attempt: number }
  | { type: 'down'; peer: number; attempt: number; code: string; message: string };
