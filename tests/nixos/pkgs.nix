# Stand-in packages: derivations that are never built, for tests without nixpkgs.
{ lib, system ? "x86_64-linux" }:
let
  plain = name: builtins.unsafeDiscardStringContext (builtins.replaceStrings [ "@" "/" " " ] [ "-" "-" "-" ] name);
  package = pname: attributes: let
    drv = derivation ({ inherit system; builder = "/bin/sh"; name = plain pname; } // (attributes.env or { }));
    self = drv // {
      inherit pname;
      version = attributes.version or "1";
      meta.mainProgram = pname;
      override = _: self;
      overrideAttrs = _: self;
    } // removeAttrs attributes [ "env" ];
  in self;
  named = names: builtins.listToAttrs (map (name: { inherit name; value = package name { }; }) names);
  file = name: text: package name { env.text = text; inherit text; };

  pythonNames = [
    "apprise" "chromadb" "cryptography" "dbus-fast" "editables" "fastapi" "gguf" "hatchling" "httpx" "hypothesis" "import-linter" "mypy" "onnx" "openai"
    "prometheus-client" "prompt-toolkit" "psycopg" "psycopg-pool" "pydantic" "pyjwt" "pytest" "pytest-asyncio" "pytest-xdist" "rich" "schemathesis" "systemd-python" "tenacity"
    "typer" "uvicorn"
  ];
  application = attributes: package attributes.pname {
    inherit (attributes) version;
    meta = attributes.meta or { };
    env.deps = map toString ((attributes.build-system or [ ]) ++ (attributes.dependencies or [ ]));
  };
  python = version: let
    self = package "python3" {
      inherit version;
      pkgs = set;
      withPackages = f: package "python3-env" { env.deps = map toString (f set); };
      interpreter = "${self}/bin/python3";
    };
    set = named pythonNames // { python = self; buildPythonApplication = application; buildPythonPackage = application; };
  in self;
  postgresql = version: let
    extensions = named [ "timescaledb" "timescaledb-apache" "pgvector" ];
    self = package "postgresql" { inherit version; pkgs = extensions; withPackages = _: self; };
  in self;
  format = name: {
    inherit name;
    value = _: {
      type = lib.types.attrsOf lib.types.anything;
      generate = fileName: value: file fileName (builtins.toJSON value);
    };
  };

  pkgs = named [ "ai-sysadmin" "llama-cpp" "coreutils" "bash" "git" "gitMinimal" "nftables" "nodejs_24" "smartmontools" "systemd" "nix" "ruff" "uv" ] // {
    inherit lib system;
    stdenv.hostPlatform = { inherit system; isLinux = true; };
    writeText = file;
    writeShellScript = file;
    runCommand = name: env: buildCommand: package name { inherit buildCommand; env = env // { inherit buildCommand; }; };
    mkShell = attributes: package "shell" { env.deps = map toString (attributes.packages or [ ]); };
    formats = builtins.listToAttrs (map format [ "json" "toml" "yaml" "ini" ]);
    python3 = python "3.13.1";
    python3Packages = pkgs.python3.pkgs;
    postgresql = postgresql "16.6";
  };
in
pkgs
