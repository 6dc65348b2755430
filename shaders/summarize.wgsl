// The best logit of every chunk, and its part of the sum over all. One workgroup a chunk.
//#include candidates
@group(0) @binding(0) var<uniform> wanted: Wanted;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> chunks: array<Chunk>;

var<workgroup> keys: array<u32, ROW_THREADS>;
var<workgroup> rows: array<u32, ROW_THREADS>;
var<workgroup> sums: array<f32, ROW_THREADS>;
var<workgroup> unsound: array<u32, ROW_THREADS>;

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let begin = workgroup.x * LOGITS_PER_CHUNK;
  let end = min(begin + LOGITS_PER_CHUNK, wanted.rows);
  var key = 0u;
  var row = begin;
  var bad = 0u;
  for (var i = begin + thread; i < end; i += ROW_THREADS) {
    let this_key = key_of(logits[i]);
    // NaN, or plus infinity.
    if this_key == 0u || this_key == 0xff800000u {
      bad = 1u;
    }
    if this_key > key {
      key = this_key;
      row = i;
    }
  }
  keys[thread] = key;
  rows[thread] = row;
  unsound[thread] = bad;
  workgroupBarrier();
  for (var i = 0u; i < ROW_THREADS; i++) {
    if before(keys[i], rows[i], key, row) {
      key = keys[i];
      row = rows[i];
    }
    bad |= unsound[i];
  }
  let peak = logits[row];
  var sum = 0.0;
  for (var i = begin + thread; i < end; i += ROW_THREADS) {
    let logit = logits[i];
    // Above minus infinity.
    if key_of(logit) > 0x007fffffu {
      sum += exp((logit - peak) * wanted.inverse_temperature);
    }
  }
  sums[thread] = sum;
  workgroupBarrier();
  if thread == 0u {
    for (var i = 1u; i < ROW_THREADS; i++) {
      sum += sums[i];
    }
    chunks[workgroup.x] = Chunk(key, row, peak, sum, bad);
  }
}
