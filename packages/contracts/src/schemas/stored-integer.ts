/** The bounds of an integer that is stored as one of four bytes. */
export const minStoredInteger = -(2 ** 31);
export const maxStoredInteger = 2 ** 31 - 1;
