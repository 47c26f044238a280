/**
 * Content that is read as JSON: as it came, its text, what is read of it (both with two bytes a letter, once one is
 * not of Latin-1), the tensors, and the request with them. Measured in test/outages/large.test.ts.
 */
export const jsonTimesHeld = 7;
