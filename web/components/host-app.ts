import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, query, state } from 'lit/decorators.js';
import type { EdgeVisor, LoadOptions } from '../api.ts';
import type { ConversationStore } from '../host/conversations.ts';
import { filesSources, isTokenizer } from '../model/model-sources.ts';
import { capabilities } from './capabilities.ts';
import './chat-composer.ts';
import type { ChatComposer } from './chat-composer.ts';
import './chat-list.ts';
import './chat-transcript.ts';
import './device-panel.ts';
import './engine-options.ts';
import type { PageEvents } from './events.ts';
import { FileDrop } from './file-drop.ts';
import { FrameUpdates } from './frame-updates.ts';
import { chevronIcon, chipIcon, closeIcon, menuIcon, meshIcon, plusIcon, slidersIcon } from './icons.ts';
import './load-panel.ts';
import './mesh/mesh-knocks.ts';
import './mesh/mesh-panel.ts';
import { MeshSession } from './mesh/mesh-session.ts';
import './model-picker.ts';
import './page-notice.ts';
import './profile/profile-view.ts';
import './sampling-settings.ts';
import './side-panel.ts';
import { announcement } from './announcement.ts';
import { ChatSession } from './state/chat-session.ts';
import { EngineSession, modelName } from './state/engine-session.ts';
import { ProfileSession } from './state/profile-session.ts';
import type { SettingsStore, ThemeChoice } from './state/settings.ts';
import { layout } from './styles/layout.ts';
import { shared } from './styles/shared.ts';

/** Below this width the chats lie over the page, below the second also the panel. The same numbers are in `layout.ts`. */
const NARROW = '(max-width: 47.99rem)';
const MEDIUM = '(max-width: 71.99rem)';

const TABS = [
  { name: 'settings', label: 'Settings' },
  { name: 'device', label: 'This device' },
  { name: 'mesh', label: 'Devices' },
];
/** Only where the page's address asks for it. */
const PROFILE_TAB = { name: 'profile', label: 'Profile' };

const THEMES: readonly [ThemeChoice, string][] = [
  ['auto', 'As the system'],
  ['light', 'Light'],
  ['dark', 'Dark'],
];

const BACKEND_WORDS = { wasm: 'WASM', webgpu: 'WebGPU' } as const;

export interface HostAppParts {
  handle: EdgeVisor;
  settings: SettingsStore;
  store: ConversationStore;
  /** Why chats are not kept, if they are not. */
  storeProblem: string | undefined;
  /** Model that the page's address names, to be loaded at once. */
  model: string | undefined;
  /** Show where the time goes, from the start. */
  profile: boolean;
}

type Overlay = 'chats' | 'panel' | undefined;

/** The host page: chats at the left, the chat or the choice of a model in the middle, settings and device at the right. */
@customElement('host-app')
export class HostApp extends LitElement {
  static override styles = [shared, layout];

  readonly #settings: SettingsStore;
  readonly #engine: EngineSession;
  readonly #chats: ChatSession;
  readonly #mesh: MeshSession;
  readonly #profile: ProfileSession | undefined;
  readonly #handle: EdgeVisor;
  readonly #model: string | undefined;
  readonly #capabilities = capabilities(globalThis as object);
  readonly #narrow = matchMedia(NARROW);
  readonly #medium = matchMedia(MEDIUM);
  readonly #drop = new FileDrop(this, (files) => this.#openFiles(files));

  /** The person asked for the list of models although one is loaded. */
  @state() private choosing = false;
  /** The panel is open beside the chat; where there is no room for that, see `overlay`. */
  @state() private panelOpen = false;
  @state() private overlay: Overlay;
  @state() private tab = 'settings';
  @state() private announced = '';
  @state() private notices: readonly string[] = [];

  @query('chat-composer') private composer!: ChatComposer | null;
  #beforeOverlay: HTMLElement | undefined;

  constructor(parts: HostAppParts) {
    super();
    this.#handle = parts.handle;
    this.#settings = parts.settings;
    this.#model = parts.model;
    this.#engine = new EngineSession(parts.handle);
    this.#mesh = new MeshSession(parts.handle);
    if (parts.profile) {
      this.#profile = new ProfileSession(parts.handle);
      this.tab = PROFILE_TAB.name;
      this.panelOpen = true;
    }
    this.#chats = new ChatSession({
      handle: parts.handle,
      store: parts.store,
      settings: () => this.#settings.value,
      model: () => this.#engine.info?.model,
    });
    this.notices = parts.storeProblem === undefined ? [] : [parts.storeProblem];
    new FrameUpdates(this, [this.#engine, this.#chats, this.#mesh, this.#settings]);
    this.#hear();
  }

  /** Reads what is saved, lists the models, and loads the one that the address names. */
  async start(): Promise<void> {
    const restored = this.#chats.start(this.#settings.value.lastChat).catch((error: unknown) => this.#tell(error));
    await this.#handle.ready.catch((error: unknown) => this.#tell(error));
    void this.#engine.refreshModels();
    void this.#engine.refreshStored();
    this.#mesh.start(location.hash);
    if (this.#model !== undefined) void this.#load(this.#source(this.#model));
    else void this.#engine.refreshStatus();
    await restored;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener('keydown', this.#key);
    window.addEventListener('pagehide', this.#leaving);
    document.addEventListener('visibilitychange', this.#leaving);
    window.addEventListener('error', this.#failed);
    window.addEventListener('unhandledrejection', this.#failed);
    this.#narrow.addEventListener('change', this.#resized);
    this.#medium.addEventListener('change', this.#resized);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener('keydown', this.#key);
    window.removeEventListener('pagehide', this.#leaving);
    document.removeEventListener('visibilitychange', this.#leaving);
    window.removeEventListener('error', this.#failed);
    window.removeEventListener('unhandledrejection', this.#failed);
    this.#narrow.removeEventListener('change', this.#resized);
    this.#medium.removeEventListener('change', this.#resized);
  }

  protected override willUpdate(): void {
    const { theme } = this.#settings.value;
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const { problem } = this.#chats;
    if (problem !== undefined && !this.notices.includes(problem)) this.notices = [...this.notices, problem];
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has('overlay' as keyof this) && this.overlay !== undefined) {
      this.renderRoot.querySelector<HTMLElement>(`.${this.overlay} .close`)?.focus();
    }
    document.title = this.#chats.messages.length > 0 ? `${this.#chats.title} · EdgeVisor` : 'EdgeVisor';
  }

  protected override render(): TemplateResult {
    const covered = this.overlay !== undefined;
    return html`
      ${this.#chatsSide()}
      <main class="main" ?inert=${covered}>
        ${this.#bar()} ${this.#noticeList()} ${this.#knocks()} ${this.#showsPicker ? this.#picker() : this.#chat()}
      </main>
      ${this.#panel()}
      ${covered ? html`<div class="scrim" @click=${this.#closeOverlay}></div>` : nothing}
      ${this.#drop.hovering ? html`<div class="dropping"><p>Drop a .gguf file, or a .m and its .t, to load it</p></div>` : nothing}
      <p class="visually-hidden" role="status">${this.announced}</p>
    `;
  }

  get #ready(): boolean {
    return this.#engine.phase === 'ready';
  }

  get #showsPicker(): boolean {
    return this.choosing || (!this.#ready && this.#chats.messages.length === 0);
  }

  get #panelDocked(): boolean {
    return !this.#medium.matches;
  }

  #chatsSide(): TemplateResult {
    const over = this.#narrow.matches;
    const open = over && this.overlay === 'chats';
    return html`<aside
      class="chats ${open ? 'over' : ''}"
      role=${open ? 'dialog' : nothing}
      aria-modal=${open ? 'true' : nothing}
      aria-label="Chats"
      ?inert=${over ? this.overlay !== 'chats' : this.overlay === 'panel'}
    >
      <div class="brand">
        <img src="/icon.svg" alt="" width="28" height="28">
        <span>EdgeVisor</span>
        <button class="quiet icon close" aria-label="Close the chats" @click=${this.#closeOverlay}>${closeIcon}</button>
      </div>
      <button class="new" @click=${this.#newChat}>${plusIcon} New chat</button>
      <nav class="list" aria-label="Saved chats">
        <chat-list
          .chats=${this.#chats.chats}
          .shown=${this.#chats.id}
          .answering=${this.#chats.answeringId}
        ></chat-list>
      </nav>
      <div class="theme">
        <label class="fine" for="theme">Appearance</label>
        <select id="theme" class="fine" @change=${this.#theme}>
          ${THEMES.map(
            ([value, text]) =>
              html`<option value=${value} ?selected=${value === this.#settings.value.theme}>${text}</option>`,
          )}
        </select>
      </div>
    </aside>`;
  }

  #bar(): TemplateResult {
    const panelShown = this.#panelDocked ? this.panelOpen : this.overlay === 'panel';
    return html`<header class="bar">
      <button class="quiet icon menu" aria-label="Chats" aria-expanded=${this.overlay === 'chats'} @click=${() => this.#open('chats')}>
        ${menuIcon}
      </button>
      <button class="quiet model" @click=${this.#toggleModels} aria-expanded=${this.#showsPicker} title="Choose a model">
        ${chipIcon}
        <span class="names"><span class="name">${this.#modelTitle()}</span><span class="fine muted">${this.#modelFacts()}</span></span>
        ${chevronIcon}
      </button>
      <button
        class="quiet icon devices"
        aria-label=${this.#mesh.devices.length > 1 ? `Devices (${this.#mesh.devices.length})` : 'Devices'}
        title="Devices"
        aria-expanded=${panelShown && this.tab === 'mesh'}
        @click=${() => this.#turnPanel('mesh')}
      >
        ${meshIcon}${this.#mesh.devices.length > 1 ? html`<span class="badge" aria-hidden="true">${this.#mesh.devices.length}</span>` : nothing}
      </button>
      <button
        class="quiet icon"
        aria-label="Settings and device"
        title="Settings and device"
        aria-expanded=${panelShown && this.tab !== 'mesh'}
        @click=${() => this.#turnPanel('settings')}
      >
        ${slidersIcon}
      </button>
    </header>`;
  }

  #modelTitle(): string {
    const { phase, info, asked } = this.#engine;
    if (phase === 'ready' && info) return info.model;
    if (phase === 'loading') return asked ? modelName(asked.model) : 'Loading…';
    return 'No model loaded';
  }

  #modelFacts(): string {
    const { phase, info } = this.#engine;
    if (phase === 'ready' && info) {
      return `${BACKEND_WORDS[info.backend]}, ${info.threads} ${info.threads === 1 ? 'thread' : 'threads'}`;
    }
    return phase === 'loading' ? 'loading' : 'choose one';
  }

  #noticeList(): TemplateResult | typeof nothing {
    if (this.notices.length === 0) return nothing;
    return html`<div class="notices">
      ${this.notices.map((text) => html`<page-notice .text=${text} @close=${this.#closeNotice}></page-notice>`)}
    </div>`;
  }

  /** At the door, whatever else the page shows; the panel of devices has its own. */
  #knocks(): TemplateResult | typeof nothing {
    const panelShown = this.#panelDocked ? this.panelOpen : this.overlay === 'panel';
    if (panelShown && this.tab === 'mesh') return nothing;
    return html`<mesh-knocks
      .knocks=${this.#mesh.room?.knocks ?? []}
      @admit=${({ detail }: CustomEvent<string>) => void this.#mesh.admit(detail)}
      @refuse=${({ detail }: CustomEvent<string>) => void this.#mesh.refuse(detail)}
    ></mesh-knocks>`;
  }

  #picker(): TemplateResult {
    const { models, modelsFailure, stored, info, phase } = this.#engine;
    return html`<model-picker
      .models=${models}
      .modelsFailure=${modelsFailure}
      .stored=${stored}
      .settings=${this.#settings.value}
      .capabilities=${this.#capabilities}
      .loaded=${info?.model}
      ?busy=${phase === 'loading'}
    >
      ${this.#loadPanel()}
      ${
        this.choosing && (this.#ready || this.#chats.messages.length > 0)
          ? html`<div><button class="small" @click=${this.#backToChat}>Back to the chat</button></div>`
          : nothing
      }
    </model-picker>`;
  }

  #loadPanel(): TemplateResult | typeof nothing {
    const { asked, phase, progress, progressSince, failure } = this.#engine;
    if (phase !== 'loading' && !failure) return nothing;
    return html`<load-panel
      .model=${asked ? modelName(asked.model) : ''}
      ?loading=${phase === 'loading'}
      .progress=${progress}
      .since=${progressSince}
      .failure=${failure}
    ></load-panel>`;
  }

  #chat(): TemplateResult {
    const { activity, answeringId } = this.#chats;
    const elsewhere = answeringId !== undefined && activity === 'idle';
    return html`<chat-transcript
        .chat=${this.#chats.id}
        .heading=${this.#chats.title}
        .messages=${this.#chats.messages}
        .activity=${activity}
        .rate=${this.#chats.liveRate}
        ?canAsk=${this.#ready && answeringId === undefined}
      ></chat-transcript>
      <div class="dock">
        ${
          this.#ready
            ? html`${this.#loadPanel()}
              <chat-composer ?busy=${activity !== 'idle'} ?busyElsewhere=${elsewhere}></chat-composer>`
            : this.#noModel()
        }
      </div>`;
  }

  /** In the composer's place while an old chat is read without a model. */
  #noModel(): TemplateResult | typeof nothing {
    const { phase, failure } = this.#engine;
    if (phase === 'loading' || failure) return this.#loadPanel();
    const last = this.#settings.value.lastModel;
    return html`<div class="no-model">
      <p>No model is loaded. Load one to go on with this chat.</p>
      <div class="row">
        ${last === undefined ? nothing : html`<button class="primary" @click=${this.#loadLast}>Load ${modelName(this.#source(last))}</button>`}
        <button @click=${this.#toggleModels}>Choose a model</button>
      </div>
    </div>`;
  }

  #panel(): TemplateResult | typeof nothing {
    const docked = this.#panelDocked;
    if (!(docked ? this.panelOpen : this.overlay === 'panel')) return nothing;
    const { info, status, stored, storedFailure, log, running } = this.#engine;
    const settings = this.#settings.value;
    return html`<aside
      class="panel ${docked ? '' : 'over'} ${this.tab === 'mesh' || this.tab === PROFILE_TAB.name ? 'wide' : ''}"
      role=${docked ? nothing : 'dialog'}
      aria-modal=${docked ? nothing : 'true'}
      aria-label="Settings and device"
      ?inert=${this.overlay === 'chats'}
    >
      <div class="panel-head">
        <h2>Settings and device</h2>
        <button class="quiet icon close" aria-label="Close the panel" @click=${this.#togglePanel}>${closeIcon}</button>
      </div>
      <side-panel .tabs=${this.#profile ? [...TABS, PROFILE_TAB] : TABS} .shown=${this.tab} @show=${this.#showTab}>
        <div slot="settings" class="settings">
          <h3>Answers</h3>
          <sampling-settings .settings=${settings}></sampling-settings>
          <h3>Engine</h3>
          <engine-options .settings=${settings}></engine-options>
          ${
            info && running
              ? html`<div class="reload">
                <button class="small" ?disabled=${this.#chats.answeringId !== undefined} @click=${this.#reload}>
                  Reload the model with these
                </button>
              </div>`
              : nothing
          }
        </div>
        ${this.tab === 'mesh' ? html`<mesh-panel slot="mesh" .session=${this.#mesh}></mesh-panel>` : nothing}
        ${
          this.#profile && this.tab === PROFILE_TAB.name
            ? html`<profile-view slot="profile" .session=${this.#profile} .devices=${this.#mesh.devices}></profile-view>`
            : nothing
        }
        <device-panel
          slot="device"
          .info=${info}
          .device=${status?.devices.find(({ self }) => self)}
          .speed=${this.#chats.messages.findLast(({ speed }) => speed !== undefined)?.speed}
          .stored=${stored}
          .storedFailure=${storedFailure}
          .capabilities=${this.#capabilities}
          .log=${log}
        ></device-panel>
      </side-panel>
    </aside>`;
  }

  /** Ties the wishes of the elements below to what grants them. */
  #hear(): void {
    const on = <E extends keyof PageEvents>(name: E, grant: (detail: PageEvents[E]) => void): void => {
      this.addEventListener(name, (event) => grant((event as CustomEvent<PageEvents[E]>).detail));
    };
    on('load-model', (model) => void this.#load(model));
    on('load-files', (files) => this.#openFiles(files));
    on('retry-load', () => {
      const { asked } = this.#engine;
      if (asked) void this.#load(asked.model, asked.parts);
    });
    on('unload-model', () => void this.#engine.unload());
    on('dismiss-failure', () => this.#engine.dismissFailure());
    on('refresh-models', () => void this.#engine.refreshModels());
    on('show-models', () => {
      this.#engine.dismissFailure();
      this.choosing = true;
    });
    on('delete-stored', (digest) => void this.#engine.deleteStored(digest));
    on('setting', (change) => this.#settings.set(change));
    on('select-chat', (id) => void this.#selectChat(id));
    on('rename-chat', ({ id, title }) => void this.#chats.rename(id, title));
    on('delete-chat', (id) => void this.#chats.remove(id));
    on('send-message', (text) => void this.#answered(this.#chats.send(text)));
    on('edit-message', ({ index, text }) => void this.#answered(this.#chats.edit(index, text)));
    on('regenerate', () => void this.#answered(this.#chats.regenerate()));
    on('resume-answer', () => void this.#answered(this.#chats.resume()));
    on('stop-answer', () => this.#chats.stop());
    on('announce', (text) => this.#announce(text));
  }

  async #load(model: LoadOptions['model'], parts?: File[]): Promise<void> {
    const { backend, threads, context } = this.#settings.value;
    if (!(model instanceof File)) this.#settings.set({ lastModel: String(model) });
    this.#chats.stop();
    const loaded = await this.#engine.load({
      model,
      backend,
      ...(parts?.length && { parts }),
      ...(threads === undefined ? {} : { threads }),
      ...(context === undefined ? {} : { context }),
    });
    if (!loaded) return;
    this.choosing = false;
    this.#announce(`${modelName(model)} is ready.`);
    await this.#focusComposer();
  }

  /** A stored name as what `load` takes: an address that was kept as text is an address again. */
  #source(name: string): LoadOptions['model'] {
    return /^https?:\/\//.test(name) ? new URL(name) : name;
  }

  /** Puts an answer under way, keeps its chat as the last one, and tells a screen reader of start and end only. */
  async #answered(answer: Promise<void>): Promise<void> {
    const { id } = this.#chats;
    this.#settings.set({ lastChat: id });
    this.#announce('Answering.');
    void this.#focusComposer();
    await answer;
    void this.#engine.refreshStatus();
    const last = this.#chats.id === id ? this.#chats.messages.at(-1) : undefined;
    if (last) this.#announce(announcement(last));
  }

  #announce(text: string): void {
    this.announced = text;
  }

  #tell(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    if (!this.notices.includes(text)) this.notices = [...this.notices, text];
  }

  async #focusComposer(): Promise<void> {
    await new Promise(requestAnimationFrame);
    await this.updateComplete;
    this.composer?.focus();
  }

  async #selectChat(id: string): Promise<void> {
    this.#closeOverlay();
    this.choosing = false;
    await this.#chats.select(id);
    this.#settings.set({ lastChat: id });
  }

  #open(overlay: Exclude<Overlay, undefined>): void {
    const focused = this.shadowRoot?.activeElement;
    this.#beforeOverlay = focused instanceof HTMLElement ? focused : undefined;
    this.overlay = overlay;
  }

  readonly #closeOverlay = async (): Promise<void> => {
    if (this.overlay === undefined) return;
    this.overlay = undefined;
    await this.updateComplete;
    this.#beforeOverlay?.focus();
  };

  readonly #togglePanel = (): void => {
    if (this.#panelDocked) this.panelOpen = !this.panelOpen;
    else if (this.overlay === 'panel') void this.#closeOverlay();
    else this.#open('panel');
    void this.#engine.refreshStatus();
  };

  /** Opens the panel at the devices or at the rest; closes it where that is what it shows. */
  #turnPanel(tab: 'mesh' | 'settings'): void {
    const shown = this.#panelDocked ? this.panelOpen : this.overlay === 'panel';
    const there = (this.tab === 'mesh') === (tab === 'mesh');
    if (!there) this.tab = tab;
    if (there || !shown) this.#togglePanel();
  }

  readonly #showTab = (event: CustomEvent<string>): void => {
    this.tab = event.detail;
  };

  readonly #toggleModels = (): void => {
    this.choosing = !this.choosing;
    if (this.choosing) void this.#engine.refreshModels();
  };

  readonly #backToChat = (): void => {
    this.choosing = false;
    void this.#focusComposer();
  };

  readonly #newChat = (): void => {
    void this.#closeOverlay();
    this.choosing = false;
    this.#chats.startNew();
    void this.#focusComposer();
  };

  readonly #reload = (): void => {
    const { running } = this.#engine;
    if (running) void this.#load(running.model, running.parts);
  };

  readonly #loadLast = (): void => {
    const { lastModel } = this.#settings.value;
    if (lastModel !== undefined) void this.#load(this.#source(lastModel));
  };

  readonly #theme = (event: Event): void => {
    const chosen = THEMES.find(([value]) => value === (event.target as HTMLSelectElement).value);
    if (chosen) this.#settings.set({ theme: chosen[0] });
  };

  readonly #closeNotice = (event: CustomEvent<string>): void => {
    this.#chats.dismissProblem(event.detail);
    this.notices = this.notices.filter((text) => text !== event.detail);
  };

  /** Loads what was picked or dropped, unless the files are not those of one model. */
  #openFiles(files: File[]): void {
    try {
      filesSources(files);
    } catch (error) {
      this.#tell(error);
      return;
    }
    const tokenizers = files.filter(({ name }) => isTokenizer(name));
    const [model, ...parts] = files.filter((file) => !tokenizers.includes(file));
    if (model) void this.#load(model, [...parts, ...tokenizers]);
  }

  readonly #key = (event: KeyboardEvent): void => {
    if (event.key !== 'Escape' || event.defaultPrevented) return;
    if (this.overlay !== undefined) void this.#closeOverlay();
    else this.#chats.stop();
  };

  readonly #leaving = (): void => {
    this.#chats.flush();
  };

  readonly #resized = (): void => {
    this.overlay = undefined;
    this.requestUpdate();
  };

  readonly #failed = (event: ErrorEvent | PromiseRejectionEvent): void => {
    const reason: unknown = 'reason' in event ? event.reason : (event.error ?? event.message);
    const text = reason instanceof Error ? reason.message : String(reason);
    // Browsers report with this that a frame had more layout to do than time; nothing failed.
    if (text.startsWith('ResizeObserver loop')) return;
    this.#tell(new Error(`Something went wrong: ${text}. If the page misbehaves, reload it; chats are kept.`));
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'host-app': HostApp;
  }
}
