# services.ai-sysadmin: the suite as a NixOS module. The only unit files there are come from here.
#
#   services.ai-sysadmin = {
#     enable = true;
#     operators = [ "alice" ];
#     llama-cpp.models.review.model = "/srv/models/Qwen3-4B-Q4_K_M.gguf";
#   };
#
# What is about deployment is a typed option. What the program reads is `settings.<path>`, the same path as in
# ai_sysadmin/core/settings.py, which also holds every default; it becomes one file, checked when the system is built.
# Names of units, users, paths and sockets are fixed: nothing derives from the assistant's display name.
{ config, lib, pkgs, utils, ... }:
let
  inherit (lib) mkDefault mkEnableOption mkIf mkOption mkPackageOption types;

  cfg = config.services.ai-sysadmin;
  json = pkgs.formats.json { };

  # without root the executor's is a service's user like the others: it never approves
  settingsFile = json.generate "settings.json" (cfg.settings // lib.optionalAttrs byPolkit {
    executor = { service_users = [ "ai-sysadmin" "ai-sysadmin-api" buildUser executorUser ]; } // cfg.settings.executor;
  });
  settingsPath = "/etc/ai-sysadmin/settings.json";
  stateDir = "/var/lib/ai-sysadmin";
  runtimeDir = "/run/ai-sysadmin";

  servers = lib.optionalAttrs cfg.llama-cpp.enable (lib.filterAttrs (_: server: server.model != null) cfg.llama-cpp.models);

  # ---- what every process of ours is denied, whoever runs it

  sandbox = {
    AmbientCapabilities = "";
    CapabilityBoundingSet = "";
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    PrivateMounts = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectSystem = "strict";
    RemoveIPC = true;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [ "@system-service" "~@privileged" ];
  };

  loopbackOnly = {
    IPAddressAllow = "localhost";
    IPAddressDeny = "any";
  };

  # The unprivileged services. They look at the host: so they see its processes, all of /proc, and the real file
  # systems below /home. No PrivateUsers: their group systemd-journal and their peers' user ids must hold.
  unprivileged = sandbox // {
    DevicePolicy = "closed";
    PrivateDevices = true;
    ProtectHome = "read-only";
    ReadWritePaths = [ stateDir ];
    # netlink: by it the kernel says which unit a socket belongs to, which /proc hides from other users
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
    # prlimit64 is also how the C library reads a limit
    SystemCallFilter = [ "@system-service" "~@privileged @resources" "prlimit64" ];
    # the two users share one database: what one creates, the other may write
    UMask = "0007";
  };

  # Nothing leaves this host unless a backend elsewhere was allowed, or the API was told to listen elsewhere.
  backendsAreLocal = !lib.any (backend: backend.allow_remote or false) (lib.attrValues (cfg.settings.backends or { }));
  apiIsLocal = lib.elem (cfg.settings.api.host or "127.0.0.1") [ "127.0.0.1" "::1" "localhost" ];

  # ---- units

  service = command: description: extra: lib.recursiveUpdate {
    inherit description;
    wantedBy = [ "ai-sysadmin.target" ];
    partOf = [ "ai-sysadmin.target" ];
    after = [ "network.target" "dbus.socket" ];
    restartTriggers = [ settingsFile ];
    # a service that cannot start goes on trying: what it watches does not wait for it
    startLimitIntervalSec = 0;
    serviceConfig = {
      Type = "notify";
      ExecStart = utils.escapeSystemdExecArgs [ (lib.getExe cfg.package) command "--settings" settingsPath ];
      Restart = "always";
      RestartSec = "1s";
      RestartPreventExitStatus = 78;
      WatchdogSec = 60;
      Slice = "ai-sysadmin.slice";
    };
  } extra;

  # Who gathers evidence or looks things up asks Nix what two generations differ in, sysstat for figures of the past, and
  # git how the configuration stands.
  lookUps = lib.optional (config.nix.enable or true) config.nix.package
    ++ lib.optional (config.services.sysstat.enable or false) pkgs.sysstat
    ++ lib.optional ((cfg.settings.knowledge.configuration_repository or null) != null) pkgs.gitMinimal;

  layer = command: description: mayLeave: service command description {
    path = lookUps;
    serviceConfig = unprivileged // lib.optionalAttrs (backendsAreLocal && !mayLeave) loopbackOnly // {
      User = "ai-sysadmin";
      Group = "ai-sysadmin";
    };
  };

  # Only what the operator names takes the trigger monitor, and those who use tools, off this host.
  targetsElsewhere = probesElsewhere || (cfg.settings.tools.targets or [ ]) != [ ];
  probesElsewhere = (cfg.settings.trigger_monitor.probes or [ ]) != [ ]
    || lib.any (place: !lib.hasPrefix "/" place) (cfg.settings.trigger_monitor.certificates or [ ]);

  triggerMonitor = service "trigger-monitor" "AI sysadmin: layer 1 notices" {
    # what `zpool list` needs, where there are pools
    path = lib.optional (config.boot.zfs.enabled or false) config.boot.zfs.package;
    serviceConfig = unprivileged // lib.optionalAttrs (!probesElsewhere) loopbackOnly // {
      User = "ai-sysadmin";
      Group = "ai-sysadmin";
      OOMScoreAdjust = -500;
    };
  };

  # Root, and no more than that name: effects go through systemd, so it needs no capability, no network, no device.
  # It looks at /proc for itself. No PrivateUsers: it rules on its peers' user ids. A switch must not replace it in
  # mid-action. With rights = "polkit" it has a user of its own, and polkit says what systemd does for that user.
  executor = service "executor" "AI sysadmin: the executor of approved actions" {
    restartIfChanged = false;
    serviceConfig = sandbox // {
      DevicePolicy = "closed";
      IPAddressDeny = "any";
      PrivateDevices = true;
      PrivateNetwork = true;
      # it looks at temporary paths before it has them cleaned
      PrivateTmp = false;
      ProtectProc = "default";
      ReadWritePaths = lib.optional ((cfg.settings.executor.audit_copy or null) != null) (dirOf cfg.settings.executor.audit_copy);
      RestrictAddressFamilies = [ "AF_UNIX" ];
      Sockets = [ "ai-sysadmin-executor-propose.socket" "ai-sysadmin-executor-operate.socket" ];
      StateDirectory = "ai-sysadmin-executor";
      StateDirectoryMode = "0700";
      SystemCallFilter = [ "@system-service" "~@privileged @resources" "prlimit64" ];
      UMask = "0077";
    } // lib.optionalAttrs byPolkit {
      User = executorUser;
      Group = executorUser;
      # what an action wrote is read from the journal
      SupplementaryGroups = [ "systemd-journal" ];
    };
  };

  byPolkit = (cfg.settings.executor.rights or "root") == "polkit";
  executorUser = "ai-sysadmin-executor";
  polkitUnits = cfg.settings.executor.polkit_units or [ ];

  # The same as `rules` in ai_sysadmin/executor/polkit.py: literal names, and no where polkit is told of no unit.
  polkitRules = ''
    // The AI sysadmin's executor may do these things to these units, and ask that sleep waits for it; nothing else.
    polkit.addRule(function(action, subject) {
      if (subject.user != "${executorUser}") return polkit.Result.NOT_HANDLED;
      if (action.id == "org.freedesktop.systemd1.manage-units") {
        var unit = action.lookup("unit"), verb = action.lookup("verb");
        var units = ${builtins.toJSON polkitUnits}, verbs = ["start","restart","reload","reload-or-restart","reset-failed"];
        if (unit && verb && units.indexOf(unit) >= 0 && verbs.indexOf(verb) >= 0) return polkit.Result.YES;
      }
      var delays = ["org.freedesktop.login1.inhibit-delay-shutdown", "org.freedesktop.login1.inhibit-delay-sleep"];
      return delays.indexOf(action.id) >= 0 ? polkit.Result.YES : polkit.Result.NO;
    });
  '';

  # The one that may reach other hosts, and only where somebody is to be told; it reads no log.
  notifies = (cfg.settings.notifications.urls_file or null) != null || (cfg.settings.notifications.heartbeat_url_file or null) != null;
  notifying = lib.optionalAttrs notifies {
    ai-sysadmin-notifier = service "notifier" "AI sysadmin: tells people" {
      serviceConfig = unprivileged // {
        User = "ai-sysadmin";
        Group = "ai-sysadmin";
      };
    };
  };

  # Changes of the configuration are fetched, evaluated and built by a user of their own, in transient units.
  builds = (cfg.settings.actions.nixos.repository or null) != null;
  buildUser = cfg.settings.actions.nixos.build_user or "ai-sysadmin-build";
  buildDir = toString (cfg.settings.actions.nixos.build_dir or "/var/lib/ai-sysadmin-build");

  # At boot: what an activation left that was neither confirmed nor taken back.
  recovering = lib.optionalAttrs (config.nix.enable or true)
    (import ./nixos/recovery.nix { inherit (pkgs) coreutils; nix = config.nix.package; systemd = config.systemd.package or pkgs.systemd; }).services;

  socket = name: description: socketConfig: {
    inherit description;
    wantedBy = [ "sockets.target" ];
    partOf = [ "ai-sysadmin.target" ];
    listenStreams = [ "${runtimeDir}/${name}.sock" ];
    socketConfig = {
      DirectoryMode = "0755";
      FileDescriptorName = name;
      RemoveOnStop = true;
    } // socketConfig;
  };

  llamaServer = name: server: lib.nameValuePair "llama-${name}" {
    description = "llama-server of the AI sysadmin's ${name} model";
    wantedBy = [ "ai-sysadmin.target" ];
    partOf = [ "ai-sysadmin.target" ];
    after = [ "network.target" ];
    startLimitIntervalSec = 0;
    # spinning threads of one server would starve the others
    environment.OMP_WAIT_POLICY = "passive";
    serviceConfig = sandbox // loopbackOnly // {
      Type = "exec";
      ExecStart = utils.escapeSystemdExecArgs ([ "${cfg.llama-cpp.package}/bin/llama-server" ] ++ llamaFlags server);
      KillSignal = "SIGINT";
      Restart = "always";
      RestartSec = "5s";
      Slice = "ai-sysadmin.slice";
      DynamicUser = true;
      # the graphics devices, and no others
      DeviceAllow = [ "char-drm rw" "char-kfd rw" "char-nvidia-caps rw" "char-nvidia-frontend rw" "char-nvidia-uvm rw" "char-nvidiactl rw" ];
      DevicePolicy = "closed";
      PrivateDevices = false;
      SupplementaryGroups = [ "render" ];
      PrivateUsers = true;
      ProcSubset = "pid";
      ProtectProc = "invisible";
      RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" ];
      UMask = "0077";
    };
  };

  llamaFlags = server: [
    "-m" (toString server.model)
    "--alias" (lib.removeSuffix ".gguf" (baseNameOf (toString server.model)))
    "--host" "127.0.0.1"
    "--port" (toString server.port)
    "-c" (toString (server.contextSize * server.parallel))
    "-np" (toString server.parallel)
    "--metrics"
  ]
  # a text that is embedded has to fit one batch
  ++ lib.optionals server.embeddings [ "--embeddings" "-b" (toString server.contextSize) "-ub" (toString server.contextSize) ]
  ++ lib.optionals (server.threads != null) [ "-t" (toString server.threads) ] ++ server.extraFlags;

  modelOptions = { port, contextSize, parallel, embeddings ? false }: types.submodule {
    options = {
      port = mkOption {
        type = types.port;
        default = port;
        description = "The port on 127.0.0.1 that this layer's model is served on.";
      };
      model = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/srv/models/Qwen3-4B-Q4_K_M.gguf";
        description = ''
          The GGUF file, readable by every user and not below /home.
          Without one no server is started for this layer; the suite then judges by rule.
        '';
      };
      contextSize = mkOption {
        type = types.ints.positive;
        default = contextSize;
        description = "Context of one slot, in tokens.";
      };
      parallel = mkOption {
        type = types.ints.positive;
        default = parallel;
        description = "How many requests are answered at a time; each has its own slot.";
      };
      threads = mkOption {
        type = types.nullOr types.ints.positive;
        default = null;
        description = "How many threads compute; by default llama-server decides.";
      };
      embeddings = mkOption {
        type = types.bool;
        default = embeddings;
        internal = true;
        description = "The server answers with vectors of texts, not with words.";
      };
      extraFlags = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "-ngl" "99" ];
        description = "Further arguments of llama-server.";
      };
    };
  };

  model = layer: defaults: mkOption {
    type = modelOptions defaults;
    default = { };
    description = "The ${layer} layer's model.";
  };
in
{
  options.services.ai-sysadmin = {
    enable = mkEnableOption "the AI sysadmin";
    package = mkOption {
      type = types.package;
      default = pkgs.ai-sysadmin or (import ./nixos/package.nix { inherit lib; inherit (pkgs) python3Packages; });
      defaultText = lib.literalExpression "pkgs.ai-sysadmin, else this checkout's own";
      description = "The suite's program.";
    };

    aiName = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "Jarvis";
      description = "The assistant's display name (settings.ai_name).";
    };
    autonomyLevel = mkOption {
      type = types.nullOr (types.enum [ "observe" "suggest" "auto-safe" "auto-full" ]);
      default = null;
      example = "auto-safe";
      description = "How much may be done without a person (settings.autonomy_level).";
    };
    operators = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "alice" ];
      description = "Users who may approve and reject actions, besides root (settings.operators).";
    };
    settings = mkOption {
      type = types.submodule { freeformType = json.type; };
      default = { };
      example = { trigger_monitor.history_hours = 48; };
      description = "Everything else that can be set; `ai-sysadmin config schema` lists it.";
    };

    llama-cpp = {
      enable = mkEnableOption "llama-servers for the three layers" // { default = true; };
      package = mkPackageOption pkgs "llama-cpp" { };
      models = {
        trigger = model "trigger" { port = 8080; contextSize = 4096; parallel = 1; };
        review = model "review" { port = 8081; contextSize = 8192; parallel = 1; };
        meta = model "meta" { port = 8082; contextSize = 16384; parallel = 2; };
        # optional: with it, and a ChromaDB at settings.knowledge.chroma_url, knowledge is found by meaning as well
        embedding = model "embedding" { port = 8084; contextSize = 2048; parallel = 1; embeddings = true; };
      };
    };
  };

  config = mkIf cfg.enable {
    services.ai-sysadmin.settings = {
      ai_name = mkIf (cfg.aiName != null) (mkDefault cfg.aiName);
      autonomy_level = mkIf (cfg.autonomyLevel != null) (mkDefault cfg.autonomyLevel);
      operators = mkIf (cfg.operators != [ ]) (mkDefault cfg.operators);
      backends = mkIf cfg.llama-cpp.enable
        (lib.mapAttrs (_: server: { url = mkDefault "http://127.0.0.1:${toString server.port}"; })
          (lib.filterAttrs (_: server: server.model != null || !server.embeddings) cfg.llama-cpp.models));
    };

    assertions = [
      {
        assertion = !(cfg.settings ? state_dir || cfg.settings ? runtime_dir || cfg.settings ? executor && cfg.settings.executor ? state_dir);
        message = "services.ai-sysadmin.settings: state_dir, runtime_dir and executor.state_dir are given by the units (${stateDir}, ${runtimeDir}, ${stateDir}-executor); leave them out.";
      }
      {
        assertion = !lib.any (user: lib.elem user [ "ai-sysadmin" "ai-sysadmin-api" buildUser executorUser ]) cfg.operators;
        message = "services.ai-sysadmin.operators: the suite's own users may propose and never approve; name people.";
      }
      {
        assertion = !byPolkit || polkitUnits != [ ] && lib.all (unit: builtins.match "[A-Za-z0-9:_.\\@-]+\\.[a-z]+" unit != null) polkitUnits;
        message = "services.ai-sysadmin.settings.executor: rights = \"polkit\" needs polkit_units, each a unit's full name such as nginx.service; polkit compares them letter by letter, so no patterns.";
      }
    ];

    # `config check` on the very file: an unknown key, a wrong value or a port clash fails the build
    system.checks = [
      (pkgs.runCommand "ai-sysadmin-settings-check" { } ''
        ${lib.getExe cfg.package} config check --settings ${settingsFile} > $out
      '')
    ];

    environment.etc."ai-sysadmin/settings.json".source = settingsFile;
    # beside the program: what its actions start
    environment.systemPackages = [ cfg.package pkgs.nftables pkgs.smartmontools ] ++ lib.optional builds pkgs.gitMinimal;

    users.users = {
      ai-sysadmin = {
        isSystemUser = true;
        group = "ai-sysadmin";
        extraGroups = [ "systemd-journal" ];
        description = "AI sysadmin, who notices, judges and investigates";
      };
      ai-sysadmin-api = {
        isSystemUser = true;
        group = "ai-sysadmin-api";
        extraGroups = [ "ai-sysadmin" "systemd-journal" ];
        description = "AI sysadmin, who answers people";
      };
    } // lib.optionalAttrs byPolkit {
      ${executorUser} = {
        isSystemUser = true;
        group = executorUser;
        description = "AI sysadmin, who acts on units that polkit names";
      };
    } // lib.optionalAttrs builds {
      ${buildUser} = {
        isSystemUser = true;
        group = buildUser;
        home = buildDir;
        description = "AI sysadmin, who builds changes of the configuration";
      };
    };
    users.groups = {
      ai-sysadmin = { };
      ai-sysadmin-api = { };
    } // lib.optionalAttrs byPolkit { ${executorUser} = { }; } // lib.optionalAttrs builds { ${buildUser} = { }; };

    security.polkit = mkIf byPolkit {
      enable = true;
      extraConfig = polkitRules;
    };

    systemd.tmpfiles.rules = [
      "d ${stateDir} 2770 ai-sysadmin ai-sysadmin -"
      "d ${runtimeDir} 0755 root root -"
    ] ++ lib.optional builds "d ${buildDir} 0755 ${buildUser} ${buildUser} -"
      # where switch-to-configuration keeps its lock; the rehearsal of a change needs it there
      ++ lib.optional builds "d /run/nixos 0755 root root -";

    systemd.targets.ai-sysadmin = {
      description = "AI sysadmin";
      wantedBy = [ "multi-user.target" ];
    };

    systemd.slices.ai-sysadmin.description = "AI sysadmin and its model servers";

    systemd.sockets = {
      ai-sysadmin-executor-propose = socket "propose" "AI sysadmin: proposals for the executor" {
        Service = "ai-sysadmin-executor.service";
        SocketGroup = "ai-sysadmin";
        SocketMode = "0660";
      };
      # open to all, ruled by the peer's user id
      ai-sysadmin-executor-operate = socket "operate" "AI sysadmin: approvals for the executor" {
        Service = "ai-sysadmin-executor.service";
        SocketMode = "0666";
      };
      ai-sysadmin-api = socket "api" "AI sysadmin: the command line's door" { SocketMode = "0666"; };
    };

    systemd.services = lib.mapAttrs' llamaServer servers // notifying // recovering // {
      ai-sysadmin-trigger-monitor = triggerMonitor;
      ai-sysadmin-review-model = layer "review-model" "AI sysadmin: layer 3 judges" false;
      ai-sysadmin-meta-model = layer "meta-model" "AI sysadmin: layer 4 investigates" targetsElsewhere;
      ai-sysadmin-api = service "api" "AI sysadmin: the OpenAI-compatible API" {
        path = lookUps;
        serviceConfig = unprivileged // lib.optionalAttrs (backendsAreLocal && apiIsLocal && !targetsElsewhere) loopbackOnly // {
          User = "ai-sysadmin-api";
          Group = "ai-sysadmin-api";
        };
      };
      ai-sysadmin-executor = executor;
    };
  };
}
