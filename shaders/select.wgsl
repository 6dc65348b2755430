// The best `top` logits out of the summaries of all chunks, best first, and the sum over all. One workgroup: it takes the
// best of all chunks again and again, and looks for the next best in that chunk alone.
//#include candidates
@group(0) @binding(0) var<uniform> wanted: Wanted;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> chunks: array<Chunk>;
// (bits of the largest logit, bits of the sum, 1 if unsound, candidates), then (row, bits of the logit) of each candidate.
@group(0) @binding(3) var<storage, read_write> best: array<u32>;

var<workgroup> keys: array<u32, ROW_THREADS>;
var<workgroup> rows: array<u32, ROW_THREADS>;
var<workgroup> sums: array<f32, ROW_THREADS>;

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  let count = (wanted.rows + LOGITS_PER_CHUNK - 1u) / LOGITS_PER_CHUNK;
  var peak = 0.0;
  var found = 0u;
  for (var n = 0u; n < max(wanted.top, 1u); n++) {
    var key = 0u;
    var row = 0u;
    for (var i = thread; i < count; i += ROW_THREADS) {
      let chunk_key = chunks[i].key;
      let chunk_row = chunks[i].row;
      if before(chunk_key, chunk_row, key, row) {
        key = chunk_key;
        row = chunk_row;
      }
    }
    keys[thread] = key;
    rows[thread] = row;
    workgroupBarrier();
    for (var i = 0u; i < ROW_THREADS; i++) {
      if before(keys[i], rows[i], key, row) {
        key = keys[i];
        row = rows[i];
      }
    }
    workgroupBarrier();
    let logit = logits[row];
    if n == 0u {
      peak = logit;
    }
    let is_one = n < wanted.top && key > 0u;
    if is_one && thread == 0u {
      best[4u + 2u * n] = row;
      best[5u + 2u * n] = bitcast<u32>(logit);
    }
    found += select(0u, 1u, is_one);
    // The next best of its chunk comes after it in the order.
    let chunk = row / LOGITS_PER_CHUNK;
    let end = min((chunk + 1u) * LOGITS_PER_CHUNK, wanted.rows);
    var next_key = 0u;
    var next_row = row;
    for (var i = chunk * LOGITS_PER_CHUNK + thread; i < end; i += ROW_THREADS) {
      let other = key_of(logits[i]);
      if before(key, row, other, i) && before(other, i, next_key, next_row) {
        next_key = other;
        next_row = i;
      }
    }
    keys[thread] = next_key;
    rows[thread] = next_row;
    workgroupBarrier();
    if thread == 0u {
      for (var i = 1u; i < ROW_THREADS; i++) {
        if before(keys[i], rows[i], next_key, next_row) {
          next_key = keys[i];
          next_row = rows[i];
        }
      }
      chunks[chunk].key = next_key;
      chunks[chunk].row = next_row;
    }
    storageBarrier();
    workgroupBarrier();
  }
  var sum = 0.0;
  var unsound = 0u;
  for (var i = thread; i < count; i += ROW_THREADS) {
    // Above minus infinity.
    if key_of(chunks[i].peak) > 0x007fffffu {
      sum += chunks[i].sum * exp((chunks[i].peak - peak) * wanted.inverse_temperature);
    }
    unsound |= chunks[i].unsound;
  }
  sums[thread] = sum;
  keys[thread] = unsound;
  workgroupBarrier();
  if thread == 0u {
    for (var i = 1u; i < ROW_THREADS; i++) {
      sum += sums[i];
      unsound |= keys[i];
    }
    best[0] = bitcast<u32>(peak);
    best[1] = bitcast<u32>(sum);
    best[2] = unsound;
    best[3] = found;
  }
}
