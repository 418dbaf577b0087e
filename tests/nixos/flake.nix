# A stand-in for the nixpkgs flake, so that ours can be checked without it:
#   nix flake check --no-build --offline --no-write-lock-file --override-input nixpkgs path:tests/nixos
{
  outputs = _: let
    lib = import ./lib.nix;
    packages = system: import ./pkgs.nix { inherit lib system; };
    nixosSystem = { system, modules, ... }: let
      pkgs = packages system;
      utils = import ./utils.nix { inherit lib; };
    in lib.evalModules { specialArgs = { inherit pkgs utils; }; modules = [ ./host.nix ] ++ modules; };
  in {
    lib = lib // { inherit nixosSystem; };
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packages;
  };
}
