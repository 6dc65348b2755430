/** The mesh side of the host page: the room, its devices, the plan and its moves. Knows the handle, not the elements. */
import type {
  DeviceStatus,
  EdgeVisor,
  LoadInfo,
  Migration,
  MoveReport,
  Plan,
  PlanPreview,
  RoomInfo,
} from '../../api.ts';
import { nodeAt, nodesOf } from '../../plan/nodes.ts';
import { type Failure, failureOf } from '../state/engine-session.ts';
import { type Addresses, fetchAddresses } from './addresses.ts';
import { type Forecast, isUnderWay, moveWords } from './move-words.ts';
import { RatiosDraft } from './ratios-draft.ts';

/** Figures that change without an event, such as delays and tokens, are read this often while somebody looks. */
const REFRESH_MS = 2000;
const FORECAST_DELAY_MS = 150;
/** What a person can still read; the handle keeps its own list. */
const KEPT_MOVES = 100;

/** A move that this page asked for and can cancel. */
interface OwnMove {
  words: string;
  abort: AbortController;
  /** Of the report that is its own, once there is one. */
  id: number | undefined;
}

/** Dispatches `change` whenever anything below is different, and `announce` with a sentence for screen readers. */
export class MeshSession extends EventTarget {
  room: RoomInfo | undefined;
  roomFailure: Failure | undefined;
  opening = false;
  /** Undefined until they are asked for, and where the server does not say. */
  addresses: Addresses | undefined;
  /** Those in the room, without those that left. */
  devices: readonly DeviceStatus[] = [];
  deviceFailure: Failure | undefined;
  plan: Plan | undefined;
  model: LoadInfo | undefined;
  /** Ascending by number. */
  moves: readonly MoveReport[] = [];
  moveFailure: Failure | undefined;
  /** What the move that the person considers would carry. */
  forecast: Forecast | undefined;
  readonly ratios: RatiosDraft;

  readonly #handle: EdgeVisor;
  #own: OwnMove[] = [];
  /** Words of moves by their number, made when they begin: nodes may mean other devices later. */
  readonly #words = new Map<number, string>();
  #watchers = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #forecastTimer: ReturnType<typeof setTimeout> | undefined;
  #considered = 0;

  constructor(handle: EdgeVisor) {
    super();
    this.#handle = handle;
    this.ratios = new RatiosDraft(handle);
    this.ratios.addEventListener('change', () => this.#changed());
    handle.on('room', (room) => {
      this.room = room;
      this.#changed();
    });
    handle.on('device', (device) => {
      this.devices = withDevice(this.devices, device);
      this.#changed();
    });
    handle.on('plan', (plan) => {
      this.plan = unlessEqual(this.plan, plan);
      this.forecast = undefined;
      this.ratios.recheck();
      this.#changed();
      void this.refresh();
    });
    handle.on('move', (report) => this.#moved(report));
    handle.on('state', () => void this.refresh());
  }

  /** Opens the room at once where the page's address has one already. */
  start(fragment: string): void {
    if (new URLSearchParams(fragment.replace(/^#/, '')).has('room')) void this.openRoom();
    void this.refresh();
  }

  /** Keeps the figures fresh until the function that it gives is called. */
  watch(): () => void {
    this.#watchers += 1;
    void this.refresh();
    this.#timer ??= setInterval(() => {
      if (document.visibilityState === 'visible') void this.refresh();
    }, REFRESH_MS);
    return () => {
      this.#watchers -= 1;
      if (this.#watchers > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  async refresh(): Promise<void> {
    const { model, plan, devices, moves } = await this.#handle.status();
    this.model = unlessEqual(this.model, model);
    this.plan = unlessEqual(this.plan, plan);
    this.devices = devices.filter(({ state }) => state !== 'gone');
    for (const report of moves) this.#link(report);
    this.moves = moves.slice(-KEPT_MOVES);
    this.#changed();
  }

  async openRoom(): Promise<void> {
    this.opening = true;
    this.roomFailure = undefined;
    this.#changed();
    try {
      const [room] = await Promise.all([this.#handle.room(), this.#askAddresses()]);
      this.room = room;
    } catch (error) {
      this.roomFailure = failureOf('The room could not be opened', error);
    }
    this.opening = false;
    this.#changed();
  }

  async setAsk(ask: boolean): Promise<void> {
    await this.#inRoom('The room’s setting could not be changed', () => this.#handle.setAsk(ask));
  }

  async admit(id: string): Promise<void> {
    await this.#inRoom('The device could not be let in', () => this.#handle.admit(id));
  }

  async refuse(id: string): Promise<void> {
    await this.#inRoom('The device could not be turned away', () => this.#handle.refuse(id));
  }

  async renameDevice(index: number, name: string): Promise<void> {
    await this.#onDevice('The device could not be renamed', () => this.#handle.renameDevice(index, name));
  }

  async pauseDevice(index: number, paused: boolean): Promise<void> {
    const what = paused ? 'The device could not be paused' : 'The device could not be taken in again';
    await this.#onDevice(what, () => this.#handle.pauseDevice(index, paused));
  }

  async removeDevice(index: number): Promise<void> {
    await this.#onDevice('The device could not be removed', () => this.#handle.removeDevice(index));
  }

  /** Those that the next plan would be made for, in the order of its numbers. */
  get computing(): readonly DeviceStatus[] {
    const { plan } = this;
    const planned = new Set(plan && nodesOf(plan).map(({ member }) => member.device));
    return this.devices.filter(({ index, self, state }) => {
      // A host that does not lend itself is in no plan.
      if (self && plan) return planned.has(index);
      return state === 'ready' || state === 'computing' || state === 'loading' || (self && state !== 'lost');
    });
  }

  nameOf(device: number): string {
    return this.devices.find(({ index }) => index === device)?.name ?? `device ${device}`;
  }

  nodeName(node: number): string {
    const found = this.plan && nodeAt(this.plan, node);
    return found ? this.nameOf(found.member.device) : `node ${node}`;
  }

  /** Words for a report: what moved, where that is known. */
  wordsOf({ id }: MoveReport): string {
    return this.#words.get(id) ?? '';
  }

  /** Whether this page can cancel the move of that number. */
  canCancel(id: number): boolean {
    return this.#own.some((own) => own.id === id && !own.abort.signal.aborted);
  }

  cancel(id: number): void {
    this.#own.find((own) => own.id === id)?.abort.abort();
    this.#changed();
  }

  dismissMoveFailure(): void {
    this.moveFailure = undefined;
    this.#changed();
  }

  /** Asks for a move; its progress is in `moves`, and why it was not made in `moveFailure`. */
  async move(move: Migration): Promise<void> {
    const words = moveWords(move, (node) => this.nodeName(node));
    const own: OwnMove = { words, abort: new AbortController(), id: undefined };
    this.#own.push(own);
    this.moveFailure = undefined;
    this.forecast = undefined;
    this.#changed();
    try {
      const report = await this.#handle.migrate(move, { signal: own.abort.signal });
      this.#moved(report);
    } catch (error) {
      if (!own.abort.signal.aborted) this.moveFailure = failureOf(`${words}: not moved`, error);
    } finally {
      this.#own = this.#own.filter((other) => other !== own);
      await this.refresh();
    }
  }

  /** Foretells what a move would carry, a moment later; undefined for none. */
  consider(move: Migration | undefined): void {
    clearTimeout(this.#forecastTimer);
    this.#considered += 1;
    if (this.forecast) {
      this.forecast = undefined;
      this.#changed();
    }
    if (!move) return;
    const considered = this.#considered;
    this.#forecastTimer = setTimeout(() => void this.#foretell(move, considered), FORECAST_DELAY_MS);
  }

  async #foretell(move: Migration, considered: number): Promise<void> {
    try {
      const [now, then] = await Promise.all([this.#handle.previewMove({ moves: [] }), this.#handle.previewMove(move)]);
      if (considered !== this.#considered) return;
      this.forecast = forecastOf(move, now, then);
      this.#changed();
    } catch {
      // The handle would refuse it; where the move is asked for, it says why.
    }
  }

  #moved(report: MoveReport): void {
    const before = this.moves.find(({ id }) => id === report.id);
    this.#link(report);
    const others = this.moves.filter(({ id }) => id !== report.id);
    this.moves = [...others, report].sort((a, b) => a.id - b.id).slice(-KEPT_MOVES);
    if (before?.state !== report.state && !isUnderWay(report)) {
      this.#announce(`${this.wordsOf(report)}: ${report.state === 'committed' ? 'moved' : report.state}.`);
    }
    this.#changed();
  }

  /** Ties a report to the call of this page that it is about: calls and reports come in the same order. */
  #link({ id, move }: MoveReport): void {
    if (this.#words.has(id)) return;
    const words = move ? moveWords(move, (node) => this.nodeName(node)) : 'New shares';
    const own = move && this.#own.find((candidate) => candidate.id === undefined && candidate.words === words);
    if (own) own.id = id;
    this.#words.set(id, words);
  }

  async #askAddresses(): Promise<void> {
    try {
      this.addresses = await fetchAddresses();
    } catch {
      // Without them the link is the page's own, and says whom that reaches.
      this.addresses = { http: [], https: [] };
    }
  }

  async #inRoom(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.roomFailure = undefined;
    } catch (error) {
      this.roomFailure = failureOf(what, error);
    }
    this.#changed();
  }

  async #onDevice(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.deviceFailure = undefined;
    } catch (error) {
      this.deviceFailure = failureOf(what, error);
    }
    await this.refresh();
  }

  #announce(text: string): void {
    this.dispatchEvent(new CustomEvent('announce', { detail: text }));
  }

  #changed(): void {
    this.dispatchEvent(new Event('change'));
  }
}

/** The old value while the new one says the same, so that a border that is being dragged is not let go. */
function unlessEqual<T>(before: T, now: T): T {
  return JSON.stringify(before) === JSON.stringify(now) ? before : now;
}

function withDevice(devices: readonly DeviceStatus[], device: DeviceStatus): readonly DeviceStatus[] {
  const others = devices.filter(({ index }) => index !== device.index);
  return device.state === 'gone' ? others : [...others, device].sort((a, b) => a.index - b.index);
}

/** What must travel: for every device, what it would hold beyond what it holds now. */
export function forecastOf(move: Migration, now: PlanPreview, then: PlanPreview): Forecast {
  const forecast: Forecast = { move, weightBytes: 0, kvBytes: 0, receivers: [] };
  for (const after of then.devices) {
    const before = now.devices.find(({ device }) => device === after.device);
    const weights = Math.max(0, after.weightBytes - (before?.weightBytes ?? 0));
    const kv = Math.max(0, after.kvBytes - (before?.kvBytes ?? 0));
    if (weights + kv === 0) continue;
    forecast.weightBytes += weights;
    forecast.kvBytes += kv;
    forecast.receivers.push({ device: after.device, bytes: after.weightBytes + after.kvBytes });
  }
  return forecast;
}
