import Type from 'typebox';

/** A moment, as in `2026-11-22T18:25:40.123Z`. */
export const Time = Type.String({ format: 'date-time' });
