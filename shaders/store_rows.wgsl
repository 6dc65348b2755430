// Writes a row group of a bundle for one token.
fn store_rows(work: vec4<u32>, rows: vec4<u32>, group: u32, token: u32, sum: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    let row = group * 4u + i;
    if row < rows.x {
      let at = token * table[0].x + work.w + row;
      y[at] = select(0.0, y[at], rows.y == 1u) + sum[i];
    }
  }
}
