import Type, { type Static } from 'typebox';

/** Of a limit that is reached: which, how much of it is used, and until when. */
export const Quota = Type.Object(
  {
    policy: Type.String({
      description: 'Which limit, as `RateLimit-Policy` names it.',
      examples: ['requests-per-key', 'stored-bytes'],
    }),
    unit: Type.String({ examples: ['requests', 'content-bytes', 'tasks', 'gpu-seconds'] }),
    limit: Type.Number({ minimum: 0 }),
    used: Type.Number({ minimum: 0 }),
    window_s: Type.Union([Type.Number({ minimum: 0 }), Type.Null()], {
      description: 'The time for which the limit is; null: it is for what there is at a time.',
    }),
    reset_s: Type.Union([Type.Number({ minimum: 0 }), Type.Null()], {
      description: 'After how long nothing of it is used; null: no time makes it less.',
    }),
  },
  { $id: 'Quota', additionalProperties: false },
);
export type Quota = Static<typeof Quota>;
