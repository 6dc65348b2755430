/** `exp` for softmaxes: JavaScript leaves `Math.exp` to the engine, and its last bits differ between browsers. */

/** Steps of the fine table in one unit of x. */
const FINE = 1024;
/** Below this, e^x counts as 0 (it is smaller than 1e-304). */
const LOWEST = -700;
const LN2 = Math.LN2;

/** e^x for −1 ≤ x ≤ 0, by its power series; exact to the last bits, and only from additions and multiplications. */
function series(x: number): number {
  let sum = 0;
  for (let n = 20; n >= 1; n--) sum = ((1 + sum) * x) / n;
  return 1 + sum;
}

/** e^-i for i = 0 .. 700, by repeated squaring of e^-1. */
const whole = Float64Array.from({ length: -LOWEST + 1 }, (_, i) => {
  let result = 1;
  let square = series(-1);
  for (let bits = i; bits > 0; bits >>= 1) {
    if (bits & 1) result *= square;
    square *= square;
  }
  return result;
});

/** e^(-i/1024) */
const fine = Float64Array.from({ length: FINE }, (_, i) => series(-i / FINE));

/**
 * e^x for x ≤ 0, the same bits on every platform; relative error below 1e-12. NaN stays NaN.
 * Two tables and four terms of the series: a token needs one of these for every entry of the vocabulary.
 */
export function expNegative(x: number): number {
  const scaled = x * -FINE;
  if (scaled > -LOWEST * FINE) return 0;
  const n = scaled | 0;
  const d = (n - scaled) * (1 / FINE);
  return whole[n >> 10]! * fine[n & (FINE - 1)]! * (1 + d * (1 + d * (1 / 2 + d * (1 / 6 + d * (1 / 24)))));
}

/** Natural logarithm of x > 0, the same bits on every platform: Newton's step on e^y − x from a coarse first guess. */
export function logPositive(x: number): number {
  let exponent = 0;
  let m = x;
  while (m > 1) {
    m /= 2;
    exponent++;
  }
  while (m <= 0.5) {
    m *= 2;
    exponent--;
  }
  // 0.5 < m ≤ 1, so y = ln m lies in (−0.7, 0]; three steps double the digits from 2 to 16.
  let y = (m - 1) * (2 / (m + 1));
  for (let step = 0; step < 3; step++) y += m / series(y) - 1;
  return y + exponent * LN2;
}
