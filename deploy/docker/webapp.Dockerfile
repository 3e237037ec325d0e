# The page of examples/webapp. From the root of the repository:
#
#   docker build --file deploy/docker/webapp.Dockerfile --tag sigrun-webapp .

FROM node:22-bookworm-slim AS page
WORKDIR /src/clients/js
COPY clients/js/package.json clients/js/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY clients/js ./
RUN npm run --silent build
WORKDIR /src/examples/webapp
COPY examples/webapp/bundle ./
COPY examples/webapp/page page
RUN ./bundle

FROM python:3.12-slim-bookworm
WORKDIR /app
COPY examples examples
COPY --from=page /src/examples/webapp/build examples/webapp/build
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
USER 65532:65532
ENTRYPOINT ["python", "-m", "examples.webapp.serve", "--page-host=0.0.0.0"]
CMD ["--host=localhost", "--port=8501"]
