# docker build -t holdfast .
# docker run --init -p 7512:7512 holdfast serve
FROM python:3.11-slim AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY . .
RUN HOLDFAST_COMPILE=1 pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels .

FROM python:3.11-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels holdfast-proxy && rm -r /wheels && useradd --system holdfast
WORKDIR /app
COPY examples examples
USER holdfast
# Clients, nodes; the admin server stays on loopback within the container: docker exec ... holdfast status
EXPOSE 7512 7510
ENTRYPOINT ["holdfast"]
CMD ["serve"]
