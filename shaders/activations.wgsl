// An activation buffer holds MAX_BATCH rows of ACT_STRIDE values, the widest input of any product.
const ACT_ROW: u32 = ACT_STRIDE / 4u;
