# Evaluate module.nix without nixpkgs and say what a system would get from it.
#   conf: the options as JSON text, e.g. {"services":{"ai-sysadmin":{"enable":true}}}
{ conf, module ? ../../module.nix }:
let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix { inherit lib; };
  utils = import ./utils.nix { inherit lib; };
  system = lib.evalModules {
    specialArgs = { inherit pkgs utils; };
    modules = [ ./host.nix module { _file = "the test's options"; config = builtins.fromJSON conf; } ];
  };
  inherit (system) config;
  result = {
    units = import ./render.nix { inherit lib pkgs; } config;
    # each unit's [Install], which NixOS makes links of and never renders
    wanted = lib.concatMapAttrs
      (kind: suffix: lib.mapAttrs' (n: u: lib.nameValuePair "${n}.${suffix}" u.wantedBy) config.systemd.${kind})
      { services = "service"; sockets = "socket"; targets = "target"; };
    unchanged = lib.attrNames (lib.filterAttrs (_: unit: !unit.restartIfChanged) config.systemd.services);
    etc = builtins.mapAttrs (_: file: if file.text != null then file.text else file.source.text) config.environment.etc;
    users = builtins.mapAttrs (_: user: { inherit (user) group extraGroups home isSystemUser description; }) config.users.users;
    groups = lib.attrNames config.users.groups;
    tmpfiles = config.systemd.tmpfiles.rules;
    failedAssertions = map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
    checks = map (check: check.buildCommand) (config.system.checks or [ ]);
    polkit = if config.security.polkit.enable then config.security.polkit.extraConfig else "";
    inherit (config) warnings;
  };
in
# read every level: an unknown option shows only where somebody looks
builtins.deepSeq { inherit (config) systemd users environment assertions security services; } result
