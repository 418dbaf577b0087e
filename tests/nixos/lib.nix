# A small stand-in for nixpkgs' lib, written for this project's tests only: enough of the module system (options,
# types, mkIf/mkMerge/mkOverride/mkOrder, imports, submodules) to evaluate module.nix without nixpkgs.
let
  inherit (builtins) attrNames attrValues concatMap concatStringsSep elem elemAt filter foldl' functionArgs genList
    hasAttr head intersectAttrs isAttrs isBool isFloat isFunction isInt isList isPath isString length listToAttrs map
    match removeAttrs sort stringLength substring tail toJSON typeOf;
  fail = loc: msg: throw "option `${showPath loc}': ${msg}";
  showPath = concatStringsSep ".";
  isDef = t: v: isAttrs v && (v._type or "") == t;
  imap = f: l: genList (i: f i (elemAt l i)) (length l);
  flatten = x: if isList x then concatMap flatten x else [ x ];
  unique = foldl' (a: x: if elem x a then a else a ++ [ x ]) [ ];
  mapAttrs' = f: s: listToAttrs (map (n: f n s.${n}) (attrNames s));
  filterAttrs = p: s: listToAttrs (concatMap (n: if p n s.${n} then [ { name = n; value = s.${n}; } ] else [ ]) (attrNames s));
  genAttrs = ns: f: listToAttrs (map (n: { name = n; value = f n; }) ns);
  zip = f: sets: listToAttrs (map (n: { name = n; value = f n (map (s: s.${n}) (filter (s: s ? ${n}) sets)); }) (unique (concatMap attrNames sets)));
  recursiveUpdate = a: b: if isAttrs a && isAttrs b && !(a ? _type) && !(b ? _type) then zip (n: vs: if length vs == 1 then head vs else recursiveUpdate (head vs) (elemAt vs 1)) [ a b ] else b;

  # ---- definitions: a list of { file, value }; properties are pushed down and resolved here
  discharge = d:
    if isDef "if" d.value then (if d.value.condition then discharge (d // { value = d.value.content; }) else [ ])
    else if isDef "merge" d.value then concatMap (v: discharge (d // { value = v; })) d.value.contents
    else if isDef "override" d.value then map (x: { priority = d.value.priority; } // x) (discharge (d // { value = d.value.content; }))
    else if isDef "order" d.value then map (x: { order = d.value.priority; } // x) (discharge (d // { value = d.value.content; }))
    else [ d ];
  settle = defs: let
    ds = concatMap discharge defs;
    best = foldl' (a: d: if (d.priority or 100) < a then (d.priority or 100) else a) 9999 ds;
  in sort (a: b: (a.order or 1000) < (b.order or 1000)) (filter (d: (d.priority or 100) == best) ds);
  # attribute sets of definitions, with properties above them pushed into each attribute
  pushDown = d:
    if isDef "if" d.value then map (s: builtins.mapAttrs (_: v: { _type = "if"; inherit (d.value) condition; content = v; }) s) (pushDown (d // { value = d.value.content; }))
    else if isDef "merge" d.value then concatMap (v: pushDown (d // { value = v; })) d.value.contents
    else if isDef "override" d.value then map (builtins.mapAttrs (_: v: d.value // { content = v; })) (pushDown (d // { value = d.value.content; }))
    else if isAttrs d.value then [ d.value ]
    else throw "a set of options was expected in ${d.file}, a ${typeOf d.value} found";

  mkType = a: { _type = "option-type"; check = _: true; merge = one; description = a.name; sub = null; } // a;
  one = loc: defs: if length defs == 1 then (head defs).value
    else if builtins.all (d: d.value == (head defs).value) defs then (head defs).value
    else fail loc "conflicting definitions: ${concatStringsSep ", " (map (d: d.file) defs)}";
  simple = name: check: mkType { inherit name check; };
  mergeDefs = loc: type: defs: let
    ds = settle defs;
    bad = filter (d: !(type.check d.value)) ds;
  in if ds == [ ] then fail loc "is used but not defined"
     else if bad != [ ] then fail loc "is not of type ${type.description}: ${(head bad).file} gives ${let v = (head bad).value; in if isFunction v then "a function" else if isAttrs v then "a set" else toJSON v}"
     else type.merge loc ds;

  types = rec {
    bool = simple "boolean" isBool; int = simple "integer" isInt; float = simple "float" isFloat; number = simple "number" (x: isInt x || isFloat x);
    str = simple "string" isString; raw = simple "raw" (_: true); anything = mkType { name = "anything"; merge = deep; };
    attrs = mkType { name = "attribute set"; check = isAttrs; merge = _: ds: foldl' (a: d: a // d.value) { } ds; };
    unspecified = anything;
    nonEmptyStr = simple "non-empty string" (x: isString x && match "[ \t\n]*" x == null);
    singleLineStr = simple "single-line string" (x: isString x && match ".*\n.+" x == null);
    path = simple "absolute path" (x: (isPath x) || (isString x && substring 0 1 x == "/") || (isAttrs x && x ? outPath));
    pathInStore = path;
    package = simple "package" (x: isAttrs x && (x.type or "") == "derivation");
    shellPackage = package;
    port = simple "16-bit unsigned integer (port)" (x: isInt x && x >= 0 && x <= 65535);
    ints = { positive = simple "positive integer" (x: isInt x && x > 0); unsigned = simple "unsigned integer" (x: isInt x && x >= 0);
      between = a: b: simple "integer between ${toString a} and ${toString b}" (x: isInt x && x >= a && x <= b); u8 = ints.between 0 255; u16 = port; u32 = ints.between 0 4294967295; };
    numbers = { between = a: b: simple "number between ${toString a} and ${toString b}" (x: number.check x && x >= a && x <= b); nonnegative = simple "non-negative number" (x: number.check x && x >= 0); positive = simple "positive number" (x: number.check x && x > 0); };
    enum = vs: simple "one of ${concatStringsSep ", " (map toJSON vs)}" (x: elem x vs);
    strMatching = p: simple "string matching ${p}" (x: isString x && match p x != null);
    separatedString = sep: mkType { name = "strings joined"; check = isString; merge = _: ds: concatStringsSep sep (map (d: d.value) ds); };
    lines = separatedString "\n"; commas = separatedString ","; envVar = separatedString ":";
    nullOr = t: mkType { name = "null or ${t.description}"; check = x: x == null || t.check x; sub = t;
      merge = loc: ds: if builtins.all (d: d.value == null) ds then null else t.merge loc (filter (d: d.value != null) ds); };
    either = a: b: mkType { name = "${a.description} or ${b.description}"; check = x: a.check x || b.check x;
      merge = loc: ds: if builtins.all (d: a.check d.value) ds then a.merge loc ds else b.merge loc ds; };
    oneOf = ts: foldl' either (head ts) (tail ts);
    addCheck = t: c: t // { check = x: t.check x && c x; };
    coercedTo = from: f: to: mkType { name = to.description; check = x: from.check x || to.check x;
      merge = loc: ds: to.merge loc (map (d: if from.check d.value then d // { value = f d.value; } else d) ds); };
    functionTo = t: mkType { name = "function"; check = isFunction; merge = loc: ds: a: t.merge loc (map (d: d // { value = d.value a; }) ds); };
    listOf = t: mkType { name = "list of ${t.description}"; check = isList; sub = t;
      merge = loc: ds: concatMap (d: imap (i: v: mergeDefs (loc ++ [ "[${toString i}]" ]) t [ (removeAttrs d [ "priority" "order" ] // { value = v; }) ]) d.value) ds; };
    nonEmptyListOf = t: addCheck (listOf t) (l: l != [ ]);
    attrsOf = t: mkType { name = "attribute set of ${t.description}"; check = isAttrs; sub = t;
      merge = loc: ds: let
        per = zip (_: vs: vs) (concatMap (d: map (builtins.mapAttrs (_: v: { inherit (d) file; value = v; })) (pushDown d)) ds);
      in builtins.mapAttrs (n: vs: mergeDefs (loc ++ [ n ]) t vs) (filterAttrs (_: vs: settle vs != [ ]) per); };
    lazyAttrsOf = attrsOf;
    submodule = m: submoduleWith { modules = flatten [ m ]; };
    submoduleWith = { modules, specialArgs ? { }, ... }: mkType { name = "submodule"; check = x: isAttrs x || isFunction x; isSub = true;
      merge = loc: ds: (evalModules { prefix = loc; specialArgs = { name = elemAt loc (length loc - 1); } // specialArgs;
        modules = modules ++ map (d: if isFunction d.value then d.value else { _file = d.file; config = d.value; }) ds; }).config; };
  };
  deep = loc: ds: if length ds > 1 && builtins.all (d: isAttrs d.value && !(d.value ? type)) ds
    then (types.attrsOf types.anything).merge loc ds
    else if length ds > 1 && builtins.all (d: isList d.value) ds then concatMap (d: d.value) ds
    else if length ds == 1 && isAttrs (head ds).value && !((head ds).value ? type) then (types.attrsOf types.anything).merge loc ds
    else one loc ds;

  evalModules = { modules, specialArgs ? { }, prefix ? [ ], check ? true, ... }: let
    args = { lib = self; config = final; options = optionTree; } // specialArgs;
    load = m: let
      file = if isPath m || isString m then toString m else "<inline>";
      raw0 = if isPath m || isString m then import m else m;
      raw = if isFunction raw0 then raw0 args else raw0;
      wrapped = raw ? config || raw ? options;
      unknown = if wrapped then attrNames (removeAttrs raw [ "config" "options" "imports" "_file" "key" "meta" "freeformType" "_class" "disabledModules" ]) else [ ];
      self' = {
        file = raw._file or file;
        options = raw.options or { };
        config = if wrapped then raw.config or { } else removeAttrs raw [ "imports" "_file" "key" "meta" "options" "freeformType" "_class" ];
        freeform = raw.freeformType or raw.config.freeformType or null;
      };
    in if unknown != [ ] then throw "module ${file} has stray attributes besides options/config: ${toString unknown}"
       else [ self' ] ++ concatMap load (raw.imports or [ ]);
    loaded = concatMap load modules;
    freeform = foldl' (a: m: if m.freeform != null then m.freeform else a) null loaded;
    isOption = o: isAttrs o && (o._type or "") == "option";
    mergeOptions = loc: sets: zip (n: vs:
      if builtins.all isOption vs then (if length vs == 1 then head vs else foldl' (a: b: a // b // { type = if a ? type && b ? type && (a.type.isSub or false) then types.submoduleWith { modules = a.mods ++ b.mods; } else b.type or a.type; }) (head vs) (tail vs))
      else if builtins.any isOption vs then throw "option `${showPath (loc ++ [ n ])}' is both an option and a set of options"
      else mergeOptions (loc ++ [ n ]) vs) sets;
    optionTree = mergeOptions prefix (map (m: m.options) loaded);
    resolve = loc: opts: defs: let
      sets = concatMap (d: map (s: { inherit (d) file; set = s; }) (pushDown d)) defs;
      given = unique (concatMap (s: attrNames s.set) sets);
      stray = filter (n: !(opts ? ${n})) given;
      at = n: map (s: { inherit (s) file; value = s.set.${n}; }) (filter (s: s.set ? ${n}) sets);
      alive = filter (n: concatMap discharge (at n) != [ ]) stray;
      free = if loc == prefix && freeform != null then builtins.mapAttrs (n: _: mergeDefs (loc ++ [ n ]) (freeform.sub or types.anything) (at n)) (genAttrs alive (x: x)) else { };
      known = builtins.mapAttrs (n: o:
        if isOption o then let
          type = o.type or types.anything;
          defs' = at n ++ (if o ? default then [ { file = "the default"; value = { _type = "override"; priority = 1500; content = o.default; }; } ] else [ ]);
          v = mergeDefs (loc ++ [ n ]) type defs';
        in if o.readOnly or false && length (at n) > 1 then fail (loc ++ [ n ]) "is read-only" else if o ? apply then o.apply v else v
        else resolve (loc ++ [ n ]) o (at n)) opts;
    in if check && alive != [ ] && !(loc == prefix && freeform != null) then throw "the option `${showPath (loc ++ [ (head alive) ])}' does not exist (${(head (at (head alive))).file})"
       else known // free;
    final = resolve prefix (removeAttrs optionTree [ "_module" ]) (map (m: { inherit (m) file; value = removeAttrs m.config [ "_module" "freeformType" ]; }) loaded);
  in { config = final; options = optionTree; };

  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  escape = s: if match "[[:alnum:],._+:@%/-]+" s != null then s else "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] s}'";
  self = builtins // {
    inherit types evalModules mkOverride mkOrder flatten unique filterAttrs genAttrs recursiveUpdate mapAttrs';
    mkOption = a: { _type = "option"; mods = [ ]; } // a;
    mkEnableOption = d: self.mkOption { type = types.bool; default = false; description = "Whether to enable ${d}."; example = true; };
    mkPackageOption = pkgs: n: a: self.mkOption ({ type = types.package; description = "The ${toString n} package to use."; }
      // (if (a.default or n) == null then { } else { default = foldl' (s: k: s.${k} or (throw "no package ${toString n}")) pkgs (flatten [ (a.default or n) ]); }));
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkDefault = mkOverride 1000; mkForce = mkOverride 50; mkOptionDefault = mkOverride 1500; mkBefore = mkOrder 500; mkAfter = mkOrder 1500;
    mkAssert = a: m: c: if a then c else throw m;
    literalExpression = text: { _type = "literalExpression"; inherit text; }; literalMD = self.literalExpression; literalExample = self.literalExpression; mdDoc = x: x;
    optional = c: x: if c then [ x ] else [ ]; optionals = c: x: if c then x else [ ];
    optionalString = c: s: if c then s else ""; optionalAttrs = c: s: if c then s else { };
    id = x: x; const = x: _: x; flip = f: a: b: f b a; pipe = foldl' (x: f: f x); fix = f: let x = f x; in x;
    last = l: elemAt l (length l - 1); init = l: genList (elemAt l) (length l - 1); take = n: l: genList (elemAt l) (if n < length l then n else length l);
    imap0 = imap; imap1 = f: imap (i: f (i + 1)); range = a: b: if a > b then [ ] else genList (i: a + i) (b - a + 1);
    foldr = f: z: l: foldl' (a: x: f x a) z (genList (i: elemAt l (length l - 1 - i)) (length l)); toList = x: if isList x then x else [ x ];
    partition = builtins.partition; findFirst = p: d: l: let r = filter p l; in if r == [ ] then d else head r; count = p: l: length (filter p l);
    nameValuePair = name: value: { inherit name value; };
    mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s); concatMapAttrs = f: s: foldl' (a: n: a // f n s.${n}) { } (attrNames s);
    attrByPath = p: d: s: if p == [ ] then s else if isAttrs s && s ? ${head p} then self.attrByPath (tail p) d s.${head p} else d;
    hasAttrByPath = p: s: p == [ ] || (isAttrs s && s ? ${head p} && self.hasAttrByPath (tail p) s.${head p});
    getAttrFromPath = p: s: foldl' (a: k: a.${k}) s p; setAttrByPath = p: v: if p == [ ] then v else { ${head p} = self.setAttrByPath (tail p) v; };
    concatStrings = concatStringsSep ""; concatMapStrings = f: l: concatStringsSep "" (map f l); concatMapStringsSep = sep: f: l: concatStringsSep sep (map f l);
    concatLines = l: concatStringsSep "" (map (x: "${x}\n") l); mapStringAttrs = builtins.mapAttrs;
    hasPrefix = p: s: substring 0 (stringLength p) s == p; hasSuffix = p: s: let n = stringLength s - stringLength p; in n >= 0 && substring n (stringLength p) s == p;
    hasInfix = i: s: match ".*${self.escapeRegex i}.*" (builtins.replaceStrings [ "\n" ] [ " " ] s) != null;
    removePrefix = p: s: if self.hasPrefix p s then substring (stringLength p) (-1) s else s; removeSuffix = p: s: if self.hasSuffix p s then substring 0 (stringLength s - stringLength p) s else s;
    splitString = sep: s: filter isString (builtins.split (self.escapeRegex sep) s); stringToCharacters = s: genList (i: substring i 1 s) (stringLength s);
    escapeRegex = self.escapeChars (self.stringToCharacters "\\[{()^$?*+|."); escapeChars = cs: builtins.replaceStrings cs (map (c: "\\${c}") cs);
    escapeShellArg = x: escape (toString x); escapeShellArgs = l: concatStringsSep " " (map self.escapeShellArg l);
    toLower = builtins.replaceStrings (self.stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (self.stringToCharacters "abcdefghijklmnopqrstuvwxyz");
    toUpper = builtins.replaceStrings (self.stringToCharacters "abcdefghijklmnopqrstuvwxyz") (self.stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    boolToString = b: if b then "true" else "false"; toInt = s: builtins.fromJSON s; fileContents = f: self.removeSuffix "\n" (builtins.readFile f);
    getExe = p: "${p}/bin/${p.meta.mainProgram or p.pname or p.name}"; getExe' = p: n: "${p}/bin/${n}"; getBin = p: p; getLib = p: p; getName = p: if isString p then p else p.pname or p.name;
    makeBinPath = l: concatStringsSep ":" (map (p: "${p}/bin") l); makeLibraryPath = l: concatStringsSep ":" (map (p: "${p}/lib") l);
    versionOlder = a: b: builtins.compareVersions b a == 1; versionAtLeast = a: b: !(self.versionOlder a b); versions = { major = v: head (builtins.splitVersion v); majorMinor = v: concatStringsSep "." (self.take 2 (builtins.splitVersion v)); };
    warn = m: builtins.trace "warning: ${m}"; warnIf = c: m: if c then self.warn m else self.id; throwIf = c: m: if c then throw m else self.id; throwIfNot = c: self.throwIf (!c); assertMsg = c: m: c || throw m; assertOneOf = n: v: l: elem v l || throw "${n}";
    isDerivation = x: isAttrs x && (x.type or "") == "derivation"; isStringLike = x: isString x || isPath x || (isAttrs x && (x ? outPath));
    cleanSource = x: x; cleanSourceWith = { src, ... }: src; sourceByRegex = s: _: s; importJSON = f: builtins.fromJSON (builtins.readFile f); importTOML = f: fromTOML (builtins.readFile f);
    generators = { toJSON = _: toJSON; toINI = _: s: concatStringsSep "\n" (self.mapAttrsToList (n: v: "[${n}]\n${concatStringsSep "" (self.mapAttrsToList (k: x: "${k}=${toString x}\n") v)}") s); toKeyValue = _: s: concatStringsSep "" (self.mapAttrsToList (k: x: "${k}=${toString x}\n") s); };
    licenses = genAttrs [ "mit" "asl20" "gpl3Only" "gpl3Plus" "agpl3Only" "agpl3Plus" "bsd3" ] (n: { shortName = n; }); platforms = { linux = [ "x86_64-linux" "aarch64-linux" ]; }; maintainers = { };
    mkRenamedOptionModule = from: to: { ... }: { }; mkRemovedOptionModule = p: m: { ... }: { };
    systems = { elaborate = s: { system = s; }; }; attrsets = self; strings = self; lists = self; trivial = self; options = self; modules = self; meta = self; versionInfo = "stub"; version = "0-stub"; trim = s: let m = match "[ \t\n]*(.*[^ \t\n])[ \t\n]*" s; in if m == null then "" else head m;
  };
in self
