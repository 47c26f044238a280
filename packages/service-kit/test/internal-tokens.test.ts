import { describe, expect, it } from 'vitest';
import { consumerToken, newOperatorToken, publicApiToken, verifyToken } from '../src/index.js';

describe('internal tokens', () => {
  const operator = newOperatorToken();

  it('tell who calls', () => {
    expect(verifyToken(operator, operator)).toEqual({ kind: 'operator' });
    expect(verifyToken(operator, publicApiToken(operator))).toEqual({ kind: 'public-api' });
    expect(verifyToken(operator, consumerToken(operator, 'host-1.gpu0'))).toEqual({
      kind: 'consumer',
      consumerId: 'host-1.gpu0',
    });
  });

  it('refuse a token of another secret, a changed id, a changed kind and nonsense', () => {
    const token = consumerToken(operator, 'a');
    expect(verifyToken(newOperatorToken(), token)).toBeUndefined();
    expect(verifyToken(operator, token.replace('consumer.a', 'consumer.b'))).toBeUndefined();
    expect(verifyToken(operator, token.replace('consumer.a', 'public-api.a'))).toBeUndefined();
    for (const nonsense of ['', 'consumer.', 'operator', `${token}x`, `${operator}x`]) {
      expect(verifyToken(operator, nonsense)).toBeUndefined();
    }
  });
});
