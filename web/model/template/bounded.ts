/**
 * Runs a chat template with a bound on its work. A template is a program out of a file that anyone may have made, and
 * `@huggingface/jinja` has no bound of its own: nested loops, a `range` of a billion, a text that doubles in every round,
 * or lists that hold themselves many times over would hold up the engine for ever or fill its memory.
 *
 * Every step of the interpreter goes through `evaluate`. What a node is about to do with the values of its children is
 * charged when they come back from it, so before it does it: a unit is about the work of one character.
 */
import { Environment, Interpreter, parse, Template, tokenize } from '@huggingface/jinja';

type Value = ReturnType<Interpreter['evaluate']>;
type Node = NonNullable<Parameters<Interpreter['evaluate']>[0]>;

/** Longest template in UTF-16 units; the longest of well-known models take 20,000. */
const MAX_SOURCE = 1 << 18;
/** Longest run of white space: the lexer takes its square. */
const MAX_BLANKS = 1 << 9;
/** Work that a template may do, and what it may do beyond for every character of the messages. */
const BUDGET = 1 << 25;
const BUDGET_PER_CHARACTER = 64;
/** Longest text that it may make, in UTF-16 units, and how much longer for every character of the messages. */
const MAX_TEXT = 1 << 16;
const MAX_TEXT_PER_CHARACTER = 8;
/** Deepest nesting of nodes being evaluated, and of values. */
const MAX_DEPTH = 400;
const MAX_NESTING = 64;

/** Units of work, measured: evaluating a node (a member of a value, a scope around), a round of a loop, an entry of a mapping, an element of a range, a date. */
const STEP = 64;
const MEMBER_STEP = 256;
const SCOPE = 2;
const ROUND = 512;
const ENTRY = 64;
const ELEMENT = 32;
const DATE = 1 << 15;
/** A character that becomes a value of its own, and one that is compared again and again. */
const SPLIT = 16;
const SORT = 32;

/** Filters that look at no more of their operand than its length, or pass it on. */
const CHEAP_FILTERS = new Set(['length', 'first', 'last', 'list', 'reverse', 'safe', 'default', 'int', 'float']);
/** Filters that hold their arguments against every element. */
const PER_ELEMENT_FILTERS = new Set(['selectattr', 'rejectattr', 'map', 'sort', 'dictsort']);

/** The template does more than any honest one: the message says so in words. */
export class TemplateLimitError extends Error {
  override name = 'TemplateLimitError';
}

export interface BoundedTemplate {
  /** Throws TemplateLimitError beyond the bound, and what the template itself throws. */
  render(variables: Record<string, unknown>): string;
}

/** Reads a template. Throws the parser's SyntaxError, or TemplateLimitError for one that is too large to be read. */
export function boundedTemplate(source: string): BoundedTemplate {
  if (source.length > MAX_SOURCE)
    throw new TemplateLimitError(`it has ${source.length} characters, where ${MAX_SOURCE} are allowed`);
  if (new RegExp(`\\s{${MAX_BLANKS + 1}}`).test(source))
    throw new TemplateLimitError(`it has more than ${MAX_BLANKS} blanks in a row`);
  const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  return {
    render(variables) {
      const interpreter = new BoundedInterpreter(new Environment());
      const given = interpreter.setUp(variables);
      const text = interpreter.run(program).toString();
      // Whoever cuts it into tokens takes longer than it took to make.
      if (text.length > MAX_TEXT + MAX_TEXT_PER_CHARACTER * given)
        throw new TemplateLimitError('it makes a text much longer than the messages');
      return text;
    },
  };
}

/** `strftime_now` of the library, which is not exported by itself. */
let dates: Template | undefined;

/** A node that is being evaluated, and what has come back from its children. */
interface Frame {
  node: Shape;
  depth: number;
  /** What a filter or a method works on. */
  operand: Value | undefined;
  /** Size of a filter block's text, or of a call's arguments. */
  size: number;
}

/** The fields of the library's nodes that matter here. */
interface Shape {
  type: string;
  object?: Node;
  property?: Shape;
  computed?: boolean;
  iterable?: Shape & Node;
  lhs?: Node;
  test?: Shape | Node;
  value?: unknown;
  body?: Node[];
  filter?: Shape;
  callee?: Shape;
}

class BoundedInterpreter extends Interpreter {
  private left = BUDGET;
  private frame: Frame | undefined;
  private readonly nodeCounts = new WeakMap<Shape, number>();
  /** Whose methods these are: a template may keep one and call it later. */
  private readonly methods = new WeakMap<Value, { owner: Value; name: unknown }>();

  /**
   * Declares the variables and what the library would declare, with a `range` that is charged before it is made. Gives
   * the size of the variables.
   */
  setUp(variables: Record<string, unknown>): number {
    const { global } = this;
    let given = 0;
    for (const [name, value] of [
      ['true', true],
      ['false', false],
      ['none', null],
    ] as const) {
      global.set(name, value);
      global.set(name[0]!.toUpperCase() + name.slice(1), value);
    }
    global.set('raise_exception', (text: unknown) => {
      throw new Error(String(text));
    });
    global.set('range', (...bounds: unknown[]) => this.range(bounds));
    global.set('strftime_now', (format: unknown) => {
      this.spend(DATE);
      dates ??= new Template('{{ strftime_now(format) }}');
      return dates.render({ format });
    });
    for (const [name, value] of Object.entries(variables)) {
      given += this.sizeOf(global.set(name, value), Number.MAX_SAFE_INTEGER);
    }
    this.left += BUDGET_PER_CHARACTER * given;
    return given;
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (!node) return super.evaluate(node, environment);
    const outer = this.frame;
    const depth = (outer?.depth ?? 0) + 1;
    if (depth > MAX_DEPTH) throw new TemplateLimitError('it is nested too deep');
    // The deeper, the longer is the chain of scopes in which a name is looked up.
    this.spend((node.type === 'MemberExpression' ? MEMBER_STEP : STEP) + SCOPE * depth);
    // A macro's body is looked through whenever it is declared.
    if (node.type === 'Macro' || node.type === 'CallStatement') this.spend(STEP * this.countNodes(node));
    const frame: Frame = { node: node as Shape, depth, operand: undefined, size: 0 };
    this.frame = frame;
    try {
      const value = super.evaluate(node, environment);
      this.rememberMethod(frame, value);
      if (outer) this.charge(outer, node, value);
      return value;
    } finally {
      this.frame = outer;
    }
  }

  /** Charges what the node of `outer` will do with the value of its child. */
  private charge(outer: Frame, child: Node, value: Value): void {
    const { node } = outer;
    switch (node.type) {
      case 'MemberExpression':
        if (child !== node.object) return;
        outer.operand = value;
        if (node.property?.type === 'SliceExpression') this.spend(SPLIT * shallowSize(value));
        return;
      case 'If':
      case 'Set':
        // The condition and the value are passed on; what stands in the body becomes text.
        if (child !== node.test && child !== node.value) this.spend(this.size(value));
        return;
      case 'For':
        if (child === node.iterable || child === node.iterable?.lhs) this.spend(ROUND * countOf(value));
        else if (child !== node.iterable?.test) this.spend(this.size(value));
        return;
      case 'TestExpression':
        if (typeof value.value === 'string') this.spend(value.value.length);
        return;
      case 'Ternary':
      case 'SelectExpression':
      case 'ArrayLiteral':
      case 'TupleLiteral':
      case 'ObjectLiteral':
        return;
      case 'FilterExpression':
      case 'FilterStatement':
        this.chargeFilter(outer, child, value);
        return;
      case 'CallExpression':
      case 'CallStatement':
        if (this.methods.has(value)) this.chargeMethod(outer, value);
        else {
          const size = SPLIT * this.size(value);
          outer.size += size;
          this.spend(size);
        }
        return;
      default:
        this.spend(this.size(value));
    }
  }

  private chargeFilter(outer: Frame, child: Node, value: Value): void {
    const { filter, body } = outer.node;
    const name = String(filter?.callee?.value ?? filter?.value);
    if (body?.includes(child)) {
      outer.size += this.size(value);
      this.spend(this.size(value));
    } else if (!body && !outer.operand) {
      outer.operand = value;
      if (CHEAP_FILTERS.has(name)) {
        this.spend(shallowSize(value));
        return;
      }
      outer.size = this.size(value);
      const times = name === 'sort' || name === 'dictsort' ? SORT : name === 'join' ? SPLIT : 1;
      this.spend(times * outer.size);
    } else if (CHEAP_FILTERS.has(name)) {
      this.spend(this.size(value));
    } else {
      // Whatever a filter makes grows at most as its operand times its arguments.
      const each = PER_ELEMENT_FILTERS.has(name) && outer.operand ? SORT * countOf(outer.operand) : outer.size;
      this.spend((1 + each) * this.weightOf(value));
    }
  }

  private rememberMethod({ node, operand }: Frame, value: Value): void {
    if (node.type !== 'MemberExpression' || !operand || value.type !== 'FunctionValue' || this.methods.has(value))
      return;
    this.methods.set(value, { owner: operand, name: node.computed ? undefined : node.property?.value });
  }

  /** A method of a text or mapping is about to be called; its arguments have come before. */
  private chargeMethod(outer: Frame, method: Value): void {
    const { owner, name } = this.methods.get(method) ?? {};
    const size = owner ? shallowSize(owner) : 0;
    this.spend(SPLIT * size + (name === 'replace' || name === undefined ? size * outer.size : 0));
  }

  /** What an argument may multiply by: a number by its value, everything else by its size. */
  private weightOf(value: Value): number {
    return typeof value.value === 'number' ? Math.abs(value.value) + 1 : this.size(value);
  }

  private range(bounds: unknown[]): number[] {
    const numbers = bounds.map(Number);
    const [from, to, step] = numbers.length > 1 ? numbers : [0, numbers[0]];
    const by = step ?? 1;
    const count = Math.max(0, Math.ceil(((to ?? Number.NaN) - (from ?? Number.NaN)) / by));
    if (!Number.isFinite(count)) throw new Error('range() needs whole numbers, and a step that is not zero');
    this.spend(ELEMENT * count);
    return Array.from({ length: count }, (_, i) => (from ?? 0) + i * by);
  }

  private spend(units: number): void {
    this.left -= units;
    if (!(this.left >= 0)) throw new TemplateLimitError('it takes more work than the messages are worth');
  }

  private size(value: Value): number {
    return this.sizeOf(value, this.left);
  }

  /** Characters that a value would take written out, with all that it holds, however often; no further than `limit`. */
  private sizeOf(value: Value, limit: number, nesting = 0): number {
    if (nesting > MAX_NESTING) throw new TemplateLimitError('its values are nested too deep');
    const { value: inner } = value;
    let size = shallowSize(value);
    if (!Array.isArray(inner) && !(inner instanceof Map)) return size;
    for (const each of inner.values()) {
      size += this.sizeOf(each, limit - size, nesting + 1);
      if (size > limit) break;
    }
    return size;
  }

  private countNodes(node: Shape): number {
    const known = this.nodeCounts.get(node);
    if (known !== undefined) return known;
    const count = (part: unknown): number => {
      if (typeof part !== 'object' || part === null) return 0;
      const parts = part instanceof Map ? [...part].flat() : Object.values(part);
      return parts.reduce((sum: number, each) => sum + count(each), 1);
    };
    const nodes = count(node);
    this.nodeCounts.set(node, nodes);
    return nodes;
  }
}

function countOf({ value }: Value): number {
  if (Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 1;
}

/** Without what the elements hold. */
function shallowSize({ value }: Value): number {
  if (typeof value === 'string') return value.length + 1;
  if (Array.isArray(value)) return SPLIT * (value.length + 1);
  return value instanceof Map ? ENTRY * (value.size + 1) : 8;
}
