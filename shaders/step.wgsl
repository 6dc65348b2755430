// What changes from step to step. One slot of a small buffer, written once a step.
struct Step {
  // Position of the first token of this step.
  position: u32,
  // Number of tokens that the dispatch works on.
  count: u32,
  // First token of the step that a norm reads (the last one where only its logits are wanted).
  first: u32,
  reserved: u32,
}
