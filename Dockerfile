# opkit with everything it can use on a CPU or an NVIDIA GPU: docker build -t opkit .
# docker run --rm -v "$PWD:/work" opkit opkit doctor
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ make \
    && rm -rf /var/lib/apt/lists/*
COPY . /opt/opkit
RUN python -m pip install --no-cache-dir "/opt/opkit[all]"
RUN useradd --create-home user
USER user
WORKDIR /work
CMD ["opkit", "--help"]
