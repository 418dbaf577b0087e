{
  description = "AI sysadmin: a private, local system administrator for NixOS and any Linux with systemd";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forEach = make: lib.genAttrs systems (system: make system nixpkgs.legacyPackages.${system});

      dependencies = import ./nixos/dependencies.nix;
      application = pkgs: import ./nixos/package.nix { inherit (pkgs) lib python3Packages; src = self; };

      # What needs naming to evaluate as a whole system; the suite itself needs the first line only.
      example = {
        services.ai-sysadmin.enable = true;
        services.ai-sysadmin.operators = [ "alice" ];
        services.ai-sysadmin.llama-cpp.models.review.model = "/srv/models/review.gguf";
      };
    in
    {
      overlays.default = final: _: { ai-sysadmin = application final; };

      nixosModules.default = { lib, pkgs, ... }: {
        imports = [ ./module.nix ];
        services.ai-sysadmin.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      };

      packages = forEach (_: pkgs: rec {
        ai-sysadmin = application pkgs;
        default = ai-sysadmin;
      });

      apps = forEach (system: _: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${system}.default;
        };
      });

      devShells = forEach (_: pkgs: {
        default = pkgs.mkShell {
          packages = [
            (pkgs.python3.withPackages (python: dependencies python ++ (with python; [
              chromadb
              gguf
              hypothesis
              import-linter
              mypy
              onnx
              pytest
              pytest-asyncio
              pytest-xdist
              schemathesis
            ])))
            pkgs.llama-cpp
            pkgs.nodejs_24
            pkgs.ruff
            pkgs.uv
          ];
        };
      });

      checks = forEach (system: pkgs:
        let
          host = lib.nixosSystem { inherit system; modules = [ self.nixosModules.default example ]; };
          ours = lib.filterAttrs (name: _: lib.hasPrefix "ai-sysadmin" name || lib.hasPrefix "llama-" name) host.config.systemd.services;
          # also runs `config check` on the generated settings
          settings = lib.findFirst (check: check.name == "ai-sysadmin-settings-check") null host.config.system.checks;
        in
        {
          package = self.packages.${system}.default;
          units = pkgs.writeText "ai-sysadmin-units.json" (builtins.toJSON (lib.mapAttrs (_: unit: unit.serviceConfig) ours));
        } // lib.optionalAttrs (settings != null) { inherit settings; });
    };
}
