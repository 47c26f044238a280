import type { Quota } from '@inference-server/contracts';

/** `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers has them, of these limits. */
export function rateLimitHeaders(quotas: readonly Quota[]): Record<string, string> {
  return {
    'ratelimit-policy': quotas.map(policyOf).join(', '),
    ratelimit: quotas.map(leftOf).join(', '),
  };
}

function policyOf({ policy, unit, limit, window_s }: Quota): string {
  return [
    `"${policy}"`,
    `q=${Math.floor(limit)}`,
    ...(unit === 'requests' ? [] : [`qu="${unit}"`]),
    ...(window_s === null ? [] : [`w=${window_s}`]),
  ].join(';');
}

function leftOf({ policy, limit, used, reset_s }: Quota): string {
  const left = Math.max(0, Math.floor(limit - used));
  return [
    `"${policy}"`,
    `r=${left}`,
    ...(reset_s === null ? [] : [`t=${Math.ceil(reset_s)}`]),
  ].join(';');
}
