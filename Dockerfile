# The images of the services: docker build --target private-api|public-api|rpc-gateway|job-consumer .
# docker-compose.yaml builds them from here.
ARG BASE_IMAGE=node:24-slim

# Everything, built with the tools of development.
FROM ${BASE_IMAGE} AS build
ENV TURBO_TELEMETRY_DISABLED=1
WORKDIR /app
COPY . .
RUN npm ci --ignore-scripts --no-audit --no-fund
RUN npx turbo run build --output-logs=errors-only \
  --filter=./apps/private-api --filter=./apps/public-api \
  --filter=./apps/rpc-gateway --filter=./apps/job-consumer

# Per service: the libraries that it needs to run, and nothing of the others. What is optional stays out: npm
# counts the command of prisma to it, with 130 packages, and faster versions of what is there in JavaScript.
FROM build AS private-api-files
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund -w apps/private-api

FROM build AS public-api-files
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund -w apps/public-api

FROM build AS rpc-gateway-files
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund -w apps/rpc-gateway

FROM build AS job-consumer-files
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund -w apps/job-consumer

# What they have in common. Folders that become volumes belong to the user from the start: a
# new volume takes its owner from the image.
FROM ${BASE_IMAGE} AS service
ENV NODE_ENV=production
WORKDIR /app
RUN mkdir -p /var/lib/inference-server/blobs /var/lib/inference-server/data /var/lib/inference-server/work \
    /var/lib/inference-server/logs \
  && chown -R 1000:1000 /var/lib/inference-server
USER 1000:1000

FROM service AS private-api
COPY --from=private-api-files /app/node_modules node_modules
COPY --from=private-api-files /app/packages packages
COPY --from=private-api-files /app/prisma prisma
COPY --from=private-api-files /app/apps/private-api apps/private-api
EXPOSE 7000
# The database is brought up to this version first; several copies may do so at once.
CMD ["sh", "-c", "node apps/private-api/dist/migrate.js && exec node apps/private-api/dist/main.js"]

FROM service AS public-api
COPY --from=public-api-files /app/node_modules node_modules
COPY --from=public-api-files /app/packages packages
COPY --from=public-api-files /app/apps/public-api apps/public-api
EXPOSE 8000
CMD ["node", "apps/public-api/dist/main.js"]

FROM service AS rpc-gateway
COPY --from=rpc-gateway-files /app/node_modules node_modules
COPY --from=rpc-gateway-files /app/packages packages
COPY --from=rpc-gateway-files /app/apps/rpc-gateway apps/rpc-gateway
EXPOSE 4242 8500 8600
CMD ["node", "apps/rpc-gateway/dist/main.js"]

# Needs the engine's socket and, to use it as this user, the socket's group (group_add).
FROM service AS job-consumer
COPY --from=job-consumer-files /app/node_modules node_modules
COPY --from=job-consumer-files /app/packages packages
COPY --from=job-consumer-files /app/apps/job-consumer apps/job-consumer
CMD ["node", "apps/job-consumer/dist/main.js"]
