# The part of NixOS that module.nix talks to, as options only: for tests without nixpkgs.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;

  of = type: default: mkOption { inherit type default; };
  strings = of (types.listOf types.str) [ ];
  anything = of (types.attrsOf types.anything) { };
  anythings = of (types.listOf types.anything) [ ];
  string = of types.str "";
  flag = of types.bool;
  maybe = type: of (types.nullOr type) null;
  setOf = options: of (types.attrsOf (types.submodule { inherit options; })) { };

  unitLists = [
    "after" "before" "wants" "requires" "requisite" "bindsTo" "partOf" "conflicts" "wantedBy" "requiredBy" "onFailure"
    "aliases" "documentation"
  ];
  units = extra: setOf (lib.genAttrs unitLists (_: strings) // {
    enable = flag true;
    description = string;
    unitConfig = anything;
    startLimitBurst = maybe types.int;
    startLimitIntervalSec = maybe types.int;
    restartTriggers = anythings;
    reloadTriggers = anythings;
  } // extra);
  scripts = [ "script" "preStart" "postStart" "preStop" "postStop" "reload" ];
in
{
  options = {
    assertions = of (types.listOf types.attrs) [ ];
    warnings = strings;
    system.checks = of (types.listOf types.package) [ ];
    nixpkgs = anything;
    nix.enable = flag true;
    nix.package = of types.package pkgs.nix;
    services.sysstat.enable = flag false;
    boot = anything;
    fileSystems = anything;

    systemd = {
      services = units ({
        serviceConfig = anything;
        restartIfChanged = flag true;
        stopIfChanged = flag true;
        path = anythings;
        startAt = of (types.either types.str (types.listOf types.str)) [ ];
        environment = of (types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ]))) { };
      } // lib.genAttrs scripts (_: of types.lines ""));
      sockets = units { socketConfig = anything; listenStreams = strings; };
      timers = units { timerConfig = anything; };
      paths = units { pathConfig = anything; };
      slices = units { sliceConfig = anything; };
      targets = units { };
      tmpfiles.rules = strings;
      tmpfiles.settings = anything;
      packages = of (types.listOf types.package) [ ];
    };

    users.users = setOf {
      isSystemUser = flag false;
      isNormalUser = flag false;
      group = string;
      extraGroups = strings;
      uid = maybe types.int;
      home = of types.path "/var/empty";
      homeMode = of types.str "700";
      createHome = flag false;
      # a field of /etc/passwd
      description = of (types.strMatching "[^:\n]*") "";
      shell = of types.anything null;
    };
    users.groups = setOf { gid = maybe types.int; members = strings; };

    environment = {
      etc = setOf {
        enable = flag true;
        source = maybe types.path;
        text = maybe types.lines;
        mode = of types.str "symlink";
        user = of types.str "+0";
        group = of types.str "+0";
      };
      systemPackages = of (types.listOf types.package) [ ];
      variables = anything;
    };

    networking.hostName = of types.str "host1";
    networking.firewall = {
      enable = flag true;
      allowedTCPPorts = of (types.listOf types.port) [ ];
      interfaces = anything;
    };
    security.polkit = { enable = flag false; extraConfig = of types.lines ""; };
    security.wrappers = anything;
    programs.git = anything;

    services.journald = anything;
    services.chromadb = {
      enable = lib.mkEnableOption "ChromaDB";
      package = lib.mkPackageOption pkgs.python3Packages "chromadb" { };
      host = of types.str "127.0.0.1";
      port = of types.port 8000;
      dbpath = of types.str "/var/lib/chromadb";
      logFile = of types.path "/var/log/chromadb/chromadb.log";
      openFirewall = flag false;
    };
    services.postgresql = {
      enable = lib.mkEnableOption "PostgreSQL";
      package = lib.mkPackageOption pkgs "postgresql" { };
      extensions = of (types.coercedTo (types.listOf types.path) (l: _: l) (types.functionTo (types.listOf types.path))) (_: [ ]);
      enableTCPIP = flag false;
      dataDir = of types.path "/var/lib/postgresql/16";
      ensureDatabases = strings;
      ensureUsers = of (types.listOf (types.submodule {
        options = { name = mkOption { type = types.str; }; ensureDBOwnership = flag false; ensureClauses = anything; };
      })) [ ];
      authentication = of types.lines "";
      identMap = of types.lines "";
      initialScript = maybe types.path;
      settings = of (types.submodule {
        freeformType = types.attrsOf (types.oneOf [ types.bool types.float types.int types.str ]);
        options.port = of types.port 5432;
        options.shared_preload_libraries =
          maybe (types.coercedTo (types.listOf types.str) (lib.concatStringsSep ",") types.commas);
      }) { };
    };
  };
}
